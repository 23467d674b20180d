//! What makes the next run cheap: states of files, of the database and of outputs, and archive segments. Only a cache: losing it costs time.
