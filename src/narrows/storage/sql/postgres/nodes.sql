-- Who serves the database. Times are the database's.

-- name: look_time
-- With what is only looked at. A standby, which takes no changes, may be behind and would answer all the same: a pooler
-- may lead there.
select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as now,
  cast(current_setting('transaction_read_only') as boolean) as is_read_only

-- name: lock_nodes
select pg_advisory_xact_lock(7021806481350104693)

-- name: forget_nodes
delete from nodes where seen_at < $1

-- name: join_nodes
-- The lowest slot that is free. A node that joins again, since it was never answered, is there.
insert into nodes (id, slot, name, version, started_at, seen_at)
select $1, (select min(s.slot) from generate_series(0, (select count(*) from nodes)) as s(slot)
  where not exists (select 1 from nodes as n where n.slot = s.slot)), $2, $3, $4, $4
on conflict (id) do update set seen_at = excluded.seen_at
returning slot

-- name: renew_node
update nodes set seen_at = $2 where id = $1 returning slot

-- name: living_nodes
select n.slot from nodes as n where n.seen_at >= $1

-- name: oldest_transaction
-- Since when a transaction of this database goes on that may still write; null if none does.
select cast(extract(epoch from min(s.xact_start)) * 1000000 as bigint) from pg_stat_activity as s
where s.datname = current_database() and s.pid <> pg_backend_pid() and s.backend_type = 'client backend'

-- name: leave_nodes
delete from nodes where id = $1

-- name: nodes
select n.id, n.slot, n.name, n.version, n.started_at, n.seen_at from nodes as n order by n.slot

-- name: insert_batches
-- With the writes of each batch.
insert into batches (id, at) select id, at from @input(id text, at integer)

-- name: forget_batches
delete from batches where at < $1 and at > -($1::bigint)

-- name: batches_so_far
-- Every commit of a node leaves one.
select count(*), max(b.at) from batches as b

-- name: resolve_batch
-- Waits for the transaction that would insert it; below zero says that this one never can.
insert into batches (id, at) values ($1, $2)
on conflict (id) do update set at = batches.at
returning at

-- name: installed
select i.value from installation as i where i.name = $1

-- name: install
insert into installation (name, value) values ($1, $2) on conflict do nothing

-- name: grown_tables
-- Tables of this schema that have grown much since the planner last looked at them. Its plans are kept, and
-- one that was made for an empty table reads a full one from end to end.
select s.relname
from pg_stat_user_tables as s
join pg_class as c on c.oid = s.relid
where s.schemaname = current_schema() and pg_has_role(c.relowner, 'usage')
  and s.n_mod_since_analyze > 500 + 2 * greatest(c.reltuples, 0) and c.reltuples < 200000
order by s.relname

-- name: end_session
-- Answers when it has ended, two seconds at the most. Not one that waits for a standby in its commit: to end it
-- would show what is not replicated yet to whoever looks, as if it were acknowledged.
select pg_terminate_backend(s.pid, 2000) from pg_stat_activity as s
where s.application_name = $1 and s.wait_event is distinct from 'SyncRep'
