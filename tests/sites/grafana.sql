-- Grafana 4478d918: sqlstore/migrator/snapshot/00-schema.sql, 99-migration_log.sql.
CREATE TABLE migration_log (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, migration_id TEXT NOT NULL, success INTEGER NOT NULL);
CREATE TABLE annotation (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, org_id INTEGER NOT NULL, text TEXT NOT NULL, epoch INTEGER NOT NULL);
