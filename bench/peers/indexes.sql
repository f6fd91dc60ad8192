UPDATE books SET tsv = setweight(to_tsvector('catalog', title), 'A') || setweight(to_tsvector('catalog', head), 'B')
    || setweight(to_tsvector('catalog', tags), 'C')
    || setweight(to_tsvector('catalog', summary || ' ' || description), 'D');
CREATE INDEX ON books USING gin (tsv);
CREATE INDEX ON books USING gin (title gin_trgm_ops);
CREATE INDEX ON books USING gin (genres);
CREATE INDEX ON books USING gin (authors);
CREATE INDEX ON books (newest DESC, id DESC);
CREATE INDEX ON books (popular DESC, id DESC);
CREATE INDEX ON books (rating DESC, id DESC);
CREATE INDEX ON books (title, id);
CREATE INDEX ON books (duration, id);
CREATE INDEX ON books (price, id);
CREATE INDEX ON books (language);
VACUUM (FULL, ANALYZE) books;
