CREATE EXTENSION pg_trgm;
CREATE EXTENSION unaccent;
CREATE TEXT SEARCH CONFIGURATION catalog (COPY = english);
ALTER TEXT SEARCH CONFIGURATION catalog
    ALTER MAPPING FOR hword, hword_part, word WITH unaccent, english_stem;
CREATE TABLE books (
    id text PRIMARY KEY,
    title text NOT NULL,
    head text NOT NULL,
    summary text NOT NULL,
    tags text NOT NULL,
    description text NOT NULL,
    newest timestamptz NOT NULL,
    popular bigint NOT NULL,
    rating double precision NOT NULL,
    duration double precision NOT NULL,
    price integer NOT NULL,
    stars double precision NOT NULL,
    language text,
    genres text[] NOT NULL,
    authors text[] NOT NULL,
    card text NOT NULL,
    tsv tsvector
);
