-- Active Storage of Rails 8, as in once-campfire's db/schema.rb (9310b00).
CREATE TABLE schema_migrations (version varchar NOT NULL PRIMARY KEY);
CREATE TABLE ar_internal_metadata (key varchar NOT NULL PRIMARY KEY, value varchar);
CREATE TABLE active_storage_blobs (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, key varchar NOT NULL UNIQUE, filename varchar NOT NULL, content_type varchar, service_name varchar NOT NULL, byte_size bigint NOT NULL, checksum varchar);
INSERT INTO active_storage_blobs (key, filename, service_name, byte_size) VALUES ('elsewhere', 'x', 'amazon', 1);
