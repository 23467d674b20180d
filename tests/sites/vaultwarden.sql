-- Vaultwarden 46d71107: migrations/sqlite. The tables of the signature and of the checks, with the columns that these use.
CREATE TABLE users (uuid TEXT NOT NULL PRIMARY KEY, email TEXT NOT NULL UNIQUE, name TEXT NOT NULL, password_hash BLOB NOT NULL);
CREATE TABLE ciphers (uuid TEXT NOT NULL PRIMARY KEY, user_uuid TEXT REFERENCES users (uuid), name TEXT NOT NULL, data TEXT NOT NULL);
CREATE TABLE twofactor (uuid TEXT NOT NULL PRIMARY KEY, user_uuid TEXT NOT NULL REFERENCES users (uuid), type INTEGER NOT NULL);
CREATE TABLE attachments (id TEXT NOT NULL PRIMARY KEY, cipher_uuid TEXT NOT NULL REFERENCES ciphers (uuid), file_name TEXT NOT NULL, file_size INTEGER NOT NULL, akey TEXT);
CREATE TABLE sends (uuid TEXT NOT NULL PRIMARY KEY, user_uuid TEXT REFERENCES users (uuid), name TEXT NOT NULL, atype INTEGER NOT NULL, data TEXT NOT NULL);
INSERT INTO users VALUES ('u1', 'ada@example.org', 'Ada', x'00');
INSERT INTO ciphers VALUES ('c1', 'u1', 'x', '{}');
