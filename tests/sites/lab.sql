-- Little Research Lab: the columns of its table `assets`, and the tables that the manual's drill asks for.
CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE);
CREATE TABLE content_items (id TEXT PRIMARY KEY, slug TEXT NOT NULL UNIQUE, title TEXT NOT NULL);
CREATE TABLE assets (id TEXT PRIMARY KEY, filename_original TEXT, mime_type TEXT, size_bytes INTEGER, sha256 TEXT, storage_path TEXT, visibility TEXT, created_by_user_id TEXT, created_at DATETIME);
INSERT INTO assets (id, filename_original, storage_path) VALUES ('a0', 'not stored yet', '');
