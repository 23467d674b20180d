-- Actual 9158edeb: sync-server/migrations/1694360479680-create-account-db.js.
CREATE TABLE auth (password TEXT PRIMARY KEY);
CREATE TABLE sessions (token TEXT PRIMARY KEY);
CREATE TABLE files (id TEXT PRIMARY KEY, group_id TEXT, sync_version SMALLINT, deleted BOOLEAN DEFAULT FALSE, name TEXT);
INSERT INTO files (id, deleted) VALUES ('gone', TRUE);
