CREATE TABLE books (
    id text PRIMARY KEY,
    title text NOT NULL,
    price integer NOT NULL,
    currency text NOT NULL,
    visibility text NOT NULL
);
CREATE TABLE users (
    id text PRIMARY KEY,
    email text NOT NULL UNIQUE,
    epoch integer NOT NULL
);
CREATE TABLE sessions (
    id text PRIMARY KEY,
    user_id text NOT NULL REFERENCES users,
    epoch integer NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE TABLE cart_items (
    user_id text NOT NULL REFERENCES users,
    book_id text NOT NULL REFERENCES books,
    added_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, book_id)
);
CREATE TABLE requests (
    user_id text NOT NULL REFERENCES users,
    key text NOT NULL,
    hash text NOT NULL,
    status integer,
    answer text,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, key)
);
CREATE TABLE orders (
    id text PRIMARY KEY,
    user_id text NOT NULL REFERENCES users,
    state text NOT NULL,
    total integer NOT NULL,
    currency text NOT NULL,
    method text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX orders_of_user ON orders (user_id, created_at DESC);
CREATE TABLE order_items (
    order_id text NOT NULL REFERENCES orders,
    book_id text NOT NULL REFERENCES books,
    title text NOT NULL,
    price integer NOT NULL,
    PRIMARY KEY (order_id, book_id)
);
CREATE TABLE owned (
    user_id text NOT NULL REFERENCES users,
    book_id text NOT NULL REFERENCES books,
    order_id text NOT NULL REFERENCES orders,
    acquired_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, book_id)
);
CREATE TABLE charges (
    order_id text PRIMARY KEY,
    amount integer NOT NULL,
    currency text NOT NULL,
    state text NOT NULL
);
CREATE TABLE outbox (
    order_id text PRIMARY KEY REFERENCES orders,
    kind text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
