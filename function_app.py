"""The app as the Functions host sees it: one FunctionApp, one blueprint a room."""

import azure.functions as func

from functions import accounts, admin, catalog, operations, pages, pipeline

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

for room in (accounts, catalog, admin, pages, operations, pipeline):
    app.register_functions(room.blueprint)
