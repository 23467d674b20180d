-- Datasette serves any database: this one is a table of somebody's own.
CREATE TABLE trees (id INTEGER PRIMARY KEY, species TEXT NOT NULL, planted INTEGER);
