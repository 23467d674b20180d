-- linkding 65813a7: bookmarks/models.py.
CREATE TABLE django_migrations (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, app varchar(255) NOT NULL, name varchar(255) NOT NULL, applied datetime NOT NULL);
CREATE TABLE django_content_type (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, app_label varchar(100) NOT NULL, model varchar(100) NOT NULL);
CREATE TABLE bookmarks_tag (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, name varchar(64) NOT NULL);
CREATE TABLE bookmarks_bookmark (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, url varchar(2048) NOT NULL, favicon_file varchar(512) NOT NULL, preview_image_file varchar(512) NOT NULL);
CREATE TABLE bookmarks_bookmarkasset (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, file varchar(2048) NOT NULL, file_size integer, status varchar(64) NOT NULL, bookmark_id bigint NOT NULL);
INSERT INTO bookmarks_bookmarkasset (file, status, bookmark_id) VALUES ('', 'pending', 1);
