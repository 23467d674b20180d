-- Navidrome 295886cb: db/migrations.
CREATE TABLE user (id varchar(255) NOT NULL PRIMARY KEY, user_name varchar(255) NOT NULL UNIQUE);
CREATE TABLE media_file (id varchar(255) NOT NULL PRIMARY KEY, path varchar(255) NOT NULL, title varchar(255) NOT NULL);
CREATE TABLE album (id varchar(255) NOT NULL PRIMARY KEY, name varchar(255) NOT NULL);
CREATE TABLE playlist (id varchar(255) NOT NULL PRIMARY KEY, name varchar(255) NOT NULL);
