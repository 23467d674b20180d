-- PocketBase 5d217ddb: migrations/1640988000_init.go. Two collections with file fields, one of them with several files, and a view.
CREATE TABLE _params (id TEXT PRIMARY KEY NOT NULL, value JSON DEFAULT NULL);
CREATE TABLE _collections (id TEXT PRIMARY KEY NOT NULL, system BOOLEAN DEFAULT FALSE NOT NULL, type TEXT DEFAULT 'base' NOT NULL, name TEXT UNIQUE NOT NULL, fields JSON DEFAULT '[]' NOT NULL);
CREATE TABLE _superusers (id TEXT PRIMARY KEY NOT NULL, email TEXT NOT NULL);
CREATE TABLE users (id TEXT PRIMARY KEY NOT NULL, email TEXT NOT NULL, avatar TEXT DEFAULT '' NOT NULL);
CREATE TABLE posts (id TEXT PRIMARY KEY NOT NULL, title TEXT DEFAULT '' NOT NULL, images JSON DEFAULT '[]' NOT NULL);
INSERT INTO _collections VALUES ('_pb_users_auth_', FALSE, 'auth', 'users', '[{"name":"email","type":"email"},{"name":"avatar","type":"file","maxSelect":1}]');
INSERT INTO _collections VALUES ('pbc_1', FALSE, 'base', 'posts', '[{"name":"images","type":"file","maxSelect":5}]');
INSERT INTO _collections VALUES ('pbc_2', FALSE, 'view', 'seen', '[{"name":"images","type":"file","maxSelect":5}]');
