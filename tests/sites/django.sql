-- Django: what django.contrib.contenttypes and the migrations make in every project, and a model of its own.
CREATE TABLE django_migrations (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, app varchar(255) NOT NULL, name varchar(255) NOT NULL, applied datetime NOT NULL);
CREATE TABLE django_content_type (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, app_label varchar(100) NOT NULL, model varchar(100) NOT NULL);
CREATE TABLE shop_product (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, name varchar(100) NOT NULL, photo varchar(100) NOT NULL);
