#!/bin/sh
# Runs once, when the database is first made: the owner migrates, the application can neither own nor bypass. The passwords
# are read from the environment: an argument would be in the list of processes.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" <<'SQL'
\getenv owner_password RITA_OWNER_PASSWORD
\getenv app_password RITA_APP_PASSWORD
CREATE ROLE rita_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE rita_app LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'app_password';
CREATE DATABASE rita OWNER rita_owner;
\connect rita
GRANT CREATE ON SCHEMA public TO rita_owner;
GRANT USAGE ON SCHEMA public TO rita_app;
SQL
