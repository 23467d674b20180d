-- Memos 76a76292: store/migration/sqlite/LATEST.sql.
CREATE TABLE user (id INTEGER PRIMARY KEY AUTOINCREMENT, username TEXT NOT NULL UNIQUE, password_hash TEXT NOT NULL);
CREATE TABLE memo (id INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL UNIQUE, content TEXT NOT NULL DEFAULT '');
CREATE TABLE memo_relation (memo_id INTEGER NOT NULL, related_memo_id INTEGER NOT NULL, type TEXT NOT NULL);
CREATE TABLE attachment (id INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL UNIQUE, filename TEXT NOT NULL DEFAULT '', blob BLOB DEFAULT NULL, size INTEGER NOT NULL DEFAULT 0, storage_type TEXT NOT NULL DEFAULT '', reference TEXT NOT NULL DEFAULT '');
INSERT INTO attachment (uid, filename, blob, size) VALUES ('in-the-database', 'a.png', x'00', 1);
INSERT INTO attachment (uid, filename, size, storage_type, reference) VALUES ('elsewhere', 'a.png', 1, 'LOCAL', '/mnt/a.png');
