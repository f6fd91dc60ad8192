"""The app as the Functions host sees it: one FunctionApp, one blueprint a room."""

import azure.functions as func

from functions import (
    account_pages,
    accounts,
    admin,
    catalog,
    manage_pages,
    operations,
    pages,
    pipeline,
    sign_in_pages,
    static,
    users,
)

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

for room in (
    accounts,
    users,
    catalog,
    admin,
    operations,
    pages,
    sign_in_pages,
    account_pages,
    manage_pages,
    static,
    pipeline,
):
    app.register_functions(room.blueprint)
