"""Where records are kept: units of work, group commit, named SQL, migrations. No rules live here."""
