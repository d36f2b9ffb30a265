-- Channels, as the hubs in nginx ask for them (workers/realtime/channel*.c).
--
-- Each source of channels has two statements. $1: who asks, who must be the
-- owner; null: whoever. $2: the channels, whose names are sound. A row for
-- each that is there and may be watched: its `place` from 1, its head (the
-- offset of the last event), the epoch. "_after": also the events behind
-- offset $3, up to $4 of each, in order, that were made from $5 on and before
-- $6; one row without offset when there is none.

-- name: outbox_epoch (read)
-- The epoch of all channels.
select epoch from outbox_epoch

-- name: event_append
-- Appends event $2, with data $3, to channel $1, which is about no row of
-- another table.
with c as (
    insert into channels as c (channel) values ($1::text)
    on conflict (channel) do update set event_seq = c.event_seq + 1
    returning c.channel, c.event_seq
)
insert into events (channel, "offset", type, data)
select channel, event_seq, $2::text, $3::jsonb from c
returning channel as _channel, "offset" as _offset, type as _event,
    data as _event_data, created_at as _event_time

-- name: channel_counted (read)
-- What has a counter of its own: a user's channel, for that user, and the one
-- of all.
select k.place, coalesce(c.event_seq, 0) as head,
       (select epoch from outbox_epoch) as epoch
from unnest($2::text[]) with ordinality k (channel, place)
left join channels c on c.channel = k.channel
where $1::uuid is null or k.channel in ('system', 'user:' || $1::uuid::text)

-- name: channel_counted_after (read)
-- The same, with events.
select k.place, coalesce(c.event_seq, 0) as head,
       (select epoch from outbox_epoch) as epoch, e."offset", e.first, e.type,
       e.data, e.created_at
from unnest($2::text[], $3::bigint[], $4::bigint[])
    with ordinality k (channel, after, most, place)
left join channels c on c.channel = k.channel
left join lateral events_after(k.channel, k.after, c.event_seq, k.most,
    $5::timestamptz, $6::timestamptz) e on true
where $1::uuid is null or k.channel in ('system', 'user:' || $1::uuid::text)
order by k.place, e."offset"

-- name: channel_projects (read)
-- Projects.
select k.place, t.event_seq as head, (select epoch from outbox_epoch) as epoch
from unnest($2::text[]) with ordinality k (channel, place)
join projects t on t.id = substr(k.channel, 9)::uuid
where ($1::uuid is null or t.owner_id = $1::uuid) is true

-- name: channel_projects_after (read)
-- The same, with events.
select k.place, t.event_seq as head, (select epoch from outbox_epoch) as epoch,
       e."offset", e.first, e.type, e.data, e.created_at
from unnest($2::text[], $3::bigint[], $4::bigint[])
    with ordinality k (channel, after, most, place)
join projects t on t.id = substr(k.channel, 9)::uuid
left join lateral events_after(k.channel, k.after, t.event_seq, k.most,
    $5::timestamptz, $6::timestamptz) e on true
where ($1::uuid is null or t.owner_id = $1::uuid) is true
order by k.place, e."offset"

-- name: channel_tasks (read)
-- Unfinished tasks, which tell some of their events themselves.
select k.place, t.event_seq as head, (select epoch from outbox_epoch) as epoch
from unnest($2::text[]) with ordinality k (channel, place)
join tasks t on t.id = substr(k.channel, 6)::uuid
where ($1::uuid is null or t.owner_id = $1::uuid) is true

-- name: channel_tasks_after (read)
-- The same, with events.
select k.place, t.event_seq as head, (select epoch from outbox_epoch) as epoch,
       e."offset", e.first, e.type, e.data, e.created_at
from unnest($2::text[], $3::bigint[], $4::bigint[])
    with ordinality k (channel, after, most, place)
join tasks t on t.id = substr(k.channel, 6)::uuid
left join lateral (
    select x."offset", x.first, x.type, x.data, x.created_at
    from (select s."offset", s.first, s.type, s.data, s.created_at
          from events_after(k.channel, k.after, t.event_seq, k.most,
              $5::timestamptz, $6::timestamptz) s
          union all
          select s."offset", s.first, s.type, s.data, s.created_at
          from task_told(t.kind, t.created_at, t.started_seq, t.started_at,
              t.attempt, t.progress_seq, t.progress_first, t.progress_at,
              t.progress, t.progress_message, t.counters, null, null, null) s
          where s."offset" > k.after) x
    order by x."offset"
    limit k.most) e on true
where ($1::uuid is null or t.owner_id = $1::uuid) is true
order by k.place, e."offset"

-- name: channel_finished (read)
-- Finished tasks; behind the others, the lowest and the highest id.
select k.place, t.event_seq as head, (select epoch from outbox_epoch) as epoch
from unnest($2::text[]) with ordinality k (channel, place)
join task_history t on t.id = substr(k.channel, 6)::uuid
    and t.id >= $3::uuid and t.id <= $4::uuid
where ($1::uuid is null or t.owner_id = $1::uuid) is true

-- name: channel_finished_after (read)
-- The same, with events.
select k.place, t.event_seq as head, (select epoch from outbox_epoch) as epoch,
       e."offset", e.first, e.type, e.data, e.created_at
from unnest($2::text[], $3::bigint[], $4::bigint[])
    with ordinality k (channel, after, most, place)
join task_history t on t.id = substr(k.channel, 6)::uuid
    and t.id >= $7::uuid and t.id <= $8::uuid
left join lateral (
    select x."offset", x.first, x.type, x.data, x.created_at
    from (select s."offset", s.first, s.type, s.data, s.created_at
          from events_after(k.channel, k.after, t.event_seq, k.most,
              $5::timestamptz, $6::timestamptz) s
          union all
          select s."offset", s.first, s.type, s.data, s.created_at
          from task_told(t.kind, t.created_at, t.started_seq, t.started_at,
              t.attempt, t.progress_seq, t.progress_first, t.progress_at,
              t.progress, t.progress_message, t.counters, t.event_seq,
              t.state, t.finished_at) s
          where s."offset" > k.after) x
    order by x."offset"
    limit k.most) e on true
where ($1::uuid is null or t.owner_id = $1::uuid) is true
order by k.place, e."offset"

-- name: channel_runs (read)
-- Runs of workflows, which tell their progress themselves.
select k.place, t.event_seq as head, (select epoch from outbox_epoch) as epoch
from unnest($2::text[]) with ordinality k (channel, place)
join runs t on t.id = substr(k.channel, 10)::uuid
where ($1::uuid is null or t.owner_id = $1::uuid) is true

-- name: channel_runs_after (read)
-- The same, with events.
select k.place, t.event_seq as head, (select epoch from outbox_epoch) as epoch,
       e."offset", e.first, e.type, e.data, e.created_at
from unnest($2::text[], $3::bigint[], $4::bigint[])
    with ordinality k (channel, after, most, place)
join runs t on t.id = substr(k.channel, 10)::uuid
left join lateral (
    select x."offset", x.first, x.type, x.data, x.created_at
    from (select s."offset", s.first, s.type, s.data, s.created_at
          from events_after(k.channel, k.after, t.event_seq, k.most,
              $5::timestamptz, $6::timestamptz) s
          union all
          select t.event_seq, t.progress_first, 'run.progress',
              run_tally(t.state, t.total_n, t.left_n, t.succeeded_n,
                  t.failed_n, t.cancelled_n, t.skipped_n), t.updated_at
          where t.progress_first is not null and t.event_seq > k.after) x
    order by x."offset"
    limit k.most) e on true
where ($1::uuid is null or t.owner_id = $1::uuid) is true
order by k.place, e."offset"

-- name: channel_workflows (read)
-- Definitions of workflows.
select k.place, t.event_seq as head, (select epoch from outbox_epoch) as epoch
from unnest($2::text[]) with ordinality k (channel, place)
join workflows t on t.id = substr(k.channel, 10)::uuid
where ($1::uuid is null or t.owner_id = $1::uuid) is true

-- name: channel_workflows_after (read)
-- The same, with events.
select k.place, t.event_seq as head, (select epoch from outbox_epoch) as epoch,
       e."offset", e.first, e.type, e.data, e.created_at
from unnest($2::text[], $3::bigint[], $4::bigint[])
    with ordinality k (channel, after, most, place)
join workflows t on t.id = substr(k.channel, 10)::uuid
left join lateral events_after(k.channel, k.after, t.event_seq, k.most,
    $5::timestamptz, $6::timestamptz) e on true
where ($1::uuid is null or t.owner_id = $1::uuid) is true
order by k.place, e."offset"

-- name: channel_schedules (read)
-- Schedules.
select k.place, t.event_seq as head, (select epoch from outbox_epoch) as epoch
from unnest($2::text[]) with ordinality k (channel, place)
join schedules t on t.id = substr(k.channel, 10)::uuid
where ($1::uuid is null or t.owner_id = $1::uuid) is true

-- name: channel_schedules_after (read)
-- The same, with events.
select k.place, t.event_seq as head, (select epoch from outbox_epoch) as epoch,
       e."offset", e.first, e.type, e.data, e.created_at
from unnest($2::text[], $3::bigint[], $4::bigint[])
    with ordinality k (channel, after, most, place)
join schedules t on t.id = substr(k.channel, 10)::uuid
left join lateral events_after(k.channel, k.after, t.event_seq, k.most,
    $5::timestamptz, $6::timestamptz) e on true
where ($1::uuid is null or t.owner_id = $1::uuid) is true
order by k.place, e."offset"

-- name: channel_swarms (read)
-- Swarms.
select k.place, t.event_seq as head, (select epoch from outbox_epoch) as epoch
from unnest($2::text[]) with ordinality k (channel, place)
join swarms t on t.id = substr(k.channel, 7)::uuid
where ($1::uuid is null or t.owner_id = $1::uuid) is true

-- name: channel_swarms_after (read)
-- The same, with events.
select k.place, t.event_seq as head, (select epoch from outbox_epoch) as epoch,
       e."offset", e.first, e.type, e.data, e.created_at
from unnest($2::text[], $3::bigint[], $4::bigint[])
    with ordinality k (channel, after, most, place)
join swarms t on t.id = substr(k.channel, 7)::uuid
left join lateral events_after(k.channel, k.after, t.event_seq, k.most,
    $5::timestamptz, $6::timestamptz) e on true
where ($1::uuid is null or t.owner_id = $1::uuid) is true
order by k.place, e."offset"
