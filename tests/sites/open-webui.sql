-- Open WebUI 033ac2ee: backend/open_webui/models/files.py.
CREATE TABLE chat (id VARCHAR NOT NULL PRIMARY KEY, user_id VARCHAR, title TEXT);
CREATE TABLE file (id VARCHAR NOT NULL PRIMARY KEY, user_id VARCHAR, hash TEXT, filename TEXT, path TEXT, data JSON, meta JSON, created_at BIGINT);
INSERT INTO file (id, filename, path, meta) VALUES ('cloud', 'x', 's3://bucket/x', '{}');
