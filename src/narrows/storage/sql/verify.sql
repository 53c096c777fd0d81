-- What `narrows verify` asks: each finds nothing in a sound store, else (text, count) rows.

-- name: verify_one_waiting_per_key
select t.project_id || ' ' || t.event_key, count(*)
from triggers as t
where t.status = 'waiting' and exists (
  select 1 from triggers as newer
  where newer.project_id = t.project_id and newer.event_key = t.event_key
    and newer.ordinal > t.ordinal)
group by t.project_id, t.event_key
limit 20

-- name: verify_settled_once
-- Facts within retention.
select f.project_id || ' ' || f.subject_id, count(*)
from facts as f
where f.kind in ('trigger.received', 'trigger.timed_out', 'trigger.canceled')
group by f.project_id, f.subject_id
having count(*) > 1
limit 20

-- name: verify_never_early
select project_id || ' ' || id, 1
from triggers where status = 'timed_out' and settled_at < expires_at
limit 20

-- name: verify_received_times
select project_id || ' ' || id, 1
from triggers
where status = 'received' and (received_at < requested_at or received_at <> settled_at)
limit 20

-- name: verify_facts_chain
-- A fact that retention has taken is no fault; it takes the oldest first.
select t.project_id || ' ' || t.id, 1
from triggers as t left join facts as f on f.project_id = t.project_id and f.id = t.last_fact_id
where f.subject_id <> t.id or f.version <> t.version
  or (f.id is null and t.last_fact_id > (select min(o.id) from facts as o where o.project_id = t.project_id))
  or (t.status <> 'waiting' and f.kind <> 'trigger.' || t.status)
  or (t.status = 'waiting' and f.kind not in ('trigger.opened', 'trigger.extended'))
limit 20

-- name: verify_payloads
select t.project_id || ' ' || t.id, 1
from triggers as t
where (t.request_payload_id is not null and not exists (select 1 from payloads as p
    where p.project_id = t.project_id and p.id = t.request_payload_id))
  or (t.response_payload_id is not null and not exists (select 1 from payloads as p
    where p.project_id = t.project_id and p.id = t.response_payload_id))
  or (t.expected_schema_id is not null and not exists (select 1 from payloads as p
    where p.project_id = t.project_id and p.id = t.expected_schema_id))
union all
select h.project_id || ' ' || h.id, 1
from held_events as h
where h.payload_id is not null and not exists (select 1 from payloads as p
  where p.project_id = h.project_id and p.id = h.payload_id)
limit 20

-- name: verify_payload_holders
-- A payload goes with the last record that names it: none too early, none never.
with named (project_id, id) as (
  select project_id, request_payload_id from triggers where request_payload_id is not null
  union all
  select project_id, response_payload_id from triggers where response_payload_id is not null
  union all
  select project_id, expected_schema_id from triggers where expected_schema_id is not null
  union all
  select project_id, payload_id from held_events where payload_id is not null
  union all
  select project_id, payload_id from runs where payload_id is not null
  union all
  select project_id, result_id from runs where result_id is not null
  union all
  select project_id, state_id from runs where state_id is not null
  union all
  select project_id, payload_id from workflow_runs where payload_id is not null
  union all
  select project_id, output_id from steps where output_id is not null
  union all
  select project_id, payload_id from messages where payload_id is not null
), counted as (select project_id, id, count(*) as holders from named group by project_id, id)
select p.project_id || ' ' || p.id, p.holders
from payloads as p left join counted on counted.project_id = p.project_id and counted.id = p.id
where p.holders <> coalesce(counted.holders, 0)
limit 20

-- name: verify_projects
select t.project_id, count(*)
from triggers as t
where not exists (select 1 from projects as p where p.id = t.project_id)
group by t.project_id
limit 20

-- name: verify_counters
with counted as (
  select project_id,
    count(*) filter (where status = 'waiting') as waiting, count(*) filter (where status = 'received') as received,
    count(*) filter (where status = 'timed_out') as timed_out, count(*) filter (where status = 'canceled') as canceled,
    coalesce(sum(received_at - requested_at), 0) as wait_us
  from triggers group by project_id
), kept as (
  select project_id, sum(waiting) as waiting, sum(received) as received,
    sum(timed_out) as timed_out, sum(canceled) as canceled, sum(wait_us) as wait_us, sum(held) as held
  from counters group by project_id
)
select kept.project_id, kept.waiting + kept.received + kept.timed_out + kept.canceled
from kept left join counted on counted.project_id = kept.project_id
where kept.waiting <> coalesce(counted.waiting, 0) or kept.received <> coalesce(counted.received, 0)
  or kept.timed_out <> coalesce(counted.timed_out, 0)
  or kept.canceled <> coalesce(counted.canceled, 0) or kept.wait_us <> coalesce(counted.wait_us, 0)
  or kept.held <> (select count(*) from held_events as h
                   where h.project_id = kept.project_id and h.status = 'held')
union all
select counted.project_id, counted.waiting from counted
where not exists (select 1 from kept where kept.project_id = counted.project_id)
limit 20

-- name: verify_held
select h.project_id || ' ' || h.id, 1
from held_events as h join triggers as t on t.project_id = h.project_id and t.id = h.trigger_id
where h.status = 'delivered' and t.status <> 'received'
limit 20

-- name: verify_leftovers
select g.project_id || ' ' || g.trigger_id, 1
from trigger_tags as g
where not exists (select 1 from triggers as t where t.project_id = g.project_id and t.id = g.trigger_id)
union all
select c.project_id || ' ' || c.id, 1
from callback_urls as c
where not exists (select 1 from triggers as t where t.project_id = c.project_id and t.id = c.trigger_id)
union all
select g.project_id || ' ' || g.id, 1
from wait_groups as g
where not exists (
  select 1 from @each(g.trigger_ids) as named
  cross join triggers as t
  where t.project_id = g.project_id and t.id = named.value)
limit 20
