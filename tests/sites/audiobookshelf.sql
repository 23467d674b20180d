-- Audiobookshelf 1b46d680: server/models.
CREATE TABLE users (id UUID PRIMARY KEY, username VARCHAR(255));
CREATE TABLE libraryItems (id UUID PRIMARY KEY, path VARCHAR(255), mediaId UUID, mediaType VARCHAR(255));
CREATE TABLE authors (id UUID PRIMARY KEY, name VARCHAR(255), imagePath VARCHAR(255));
CREATE TABLE books (id UUID PRIMARY KEY, title VARCHAR(255), coverPath VARCHAR(255));
CREATE TABLE podcasts (id UUID PRIMARY KEY, title VARCHAR(255), coverPath VARCHAR(255));
INSERT INTO books VALUES ('b2', 'Its cover is beside the book', '/audiobooks/b2/cover.jpg');
