"""The app as the Functions host sees it: one FunctionApp, one blueprint a room."""

import azure.functions as func

from functions import (
    account_pages,
    accounts,
    admin,
    books,
    catalog,
    catalog_pages,
    commerce,
    controls,
    feeds,
    gifts,
    imports,
    listening,
    manage_pages,
    my_books,
    names,
    operations,
    pages,
    payments,
    pipeline,
    sign_in_pages,
    simulated_pages,
    static,
    tasks,
    uploads,
    users,
    vouchers,
)

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

for room in (
    accounts,
    users,
    catalog,
    books,
    names,
    imports,
    commerce,
    listening,
    payments,
    vouchers,
    gifts,
    uploads,
    tasks,
    my_books,
    admin,
    controls,
    operations,
    pages,
    catalog_pages,
    sign_in_pages,
    simulated_pages,
    account_pages,
    manage_pages,
    static,
    feeds,
    pipeline,
):
    app.register_functions(room.blueprint)
