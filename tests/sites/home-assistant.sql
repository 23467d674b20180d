-- Home Assistant 0002b406: components/recorder/db_schema.py.
CREATE TABLE events (event_id INTEGER NOT NULL PRIMARY KEY, event_type_id INTEGER, time_fired_ts FLOAT);
CREATE TABLE states (state_id INTEGER NOT NULL PRIMARY KEY, state VARCHAR(255), last_updated_ts FLOAT);
CREATE TABLE recorder_runs (run_id INTEGER NOT NULL PRIMARY KEY, start DATETIME NOT NULL);
CREATE TABLE schema_changes (change_id INTEGER NOT NULL PRIMARY KEY, schema_version INTEGER, changed DATETIME NOT NULL);
