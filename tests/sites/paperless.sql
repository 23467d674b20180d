-- Paperless-ngx b0e0e8a3: src/documents/models.py.
CREATE TABLE django_migrations (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, app varchar(255) NOT NULL, name varchar(255) NOT NULL, applied datetime NOT NULL);
CREATE TABLE django_content_type (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, app_label varchar(100) NOT NULL, model varchar(100) NOT NULL);
CREATE TABLE documents_tag (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, name varchar(128) NOT NULL);
CREATE TABLE documents_document (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, title varchar(128) NOT NULL, checksum varchar(64) NOT NULL, archive_checksum varchar(64), filename varchar(1024) UNIQUE, archive_filename varchar(1024) UNIQUE);
