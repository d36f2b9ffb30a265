-- Schedules (workers/work/schedule*.c), where the resource engine is not
-- enough. Whoever has the lock of a schedule fires it.

-- name: schedule_lock
-- Schedule $2 of caller $1, locked.
select t.id, t.owner_id, t.project_id, t.name, t.cron, t.time_zone,
       t.jitter_ms, t.catch_up, t.workflow_id, t.task, t.input, t.paused,
       t.next_at, t.fire_at, clock_timestamp() as now
from schedules t
where t.id = $2::uuid and (t.owner_id = $1::uuid) is true
for update

-- name: schedule_due
-- The schedule that has been due for longest and that nobody else is firing,
-- locked.
select t.id, t.owner_id, t.project_id, t.name, t.cron, t.time_zone,
       t.jitter_ms, t.catch_up, t.workflow_id, t.task, t.input, t.paused,
       t.next_at, t.fire_at, clock_timestamp() as now
from schedules t
where t.fire_at <= clock_timestamp()
order by t.fire_at
limit 1
for update skip locked

-- name: schedule_wait (read)
-- The milliseconds until the next one is due. One row, null when there is none.
select ceil(extract(epoch from min(t.fire_at) - clock_timestamp()) * 1000)
           ::bigint as wait_ms
from schedules t
where t.fire_at is not null

-- name: schedule_zone (read)
-- What says when schedule $2 of caller $1 fires.
select t.cron, t.time_zone, t.next_at, clock_timestamp() as now
from schedules t
where t.id = $2::uuid and (t.owner_id = $1::uuid) is true

-- name: schedule_fired
-- Schedule $1, which is locked, has fired $2 times, the last time making $6
-- ({"run_id"} or {"task_id"}, or null). $3: the next time, $4: when that is to
-- be done, $5: whether these are to be kept as they are.
with s as (
    update schedules t
    set next_at = case when $5::boolean then t.next_at
                  else $3::timestamptz end,
        fire_at = case when $5::boolean then t.fire_at
                  else $4::timestamptz end,
        last_at = case when $2::bigint > 0 then now() else t.last_at end,
        fired_n = t.fired_n + $2::bigint, error = null,
        version = t.version + 1, event_seq = t.event_seq + 1,
        updated_at = now()
    where t.id = $1::uuid
    returning t.id, t.version, t.event_seq
)
insert into events (channel, "offset", type, data)
select 'schedule:' || s.id::text, s.event_seq,
       case when $2::bigint > 0 then 'schedule.fired'
       else 'schedule.skipped' end,
       jsonb_build_object('version', s.version)
           || coalesce($6::jsonb, '{}'::jsonb)
from s
returning channel as _channel, "offset" as _offset, type as _event,
    data as _event_data, created_at as _event_time

-- name: schedule_failed
-- Schedule $1, if its next time is still $2, could not be fired: $3. It is
-- tried again at $5, for $4 (both may be null: never).
with s as (
    update schedules t
    set error = left($3::text, 1000), next_at = $4::timestamptz,
        fire_at = $5::timestamptz, version = t.version + 1,
        event_seq = t.event_seq + 1, updated_at = now()
    where t.id = $1::uuid and t.next_at = $2::timestamptz
    returning t.id, t.version, t.event_seq, t.error
)
insert into events (channel, "offset", type, data)
select 'schedule:' || s.id::text, s.event_seq, 'schedule.failed',
       jsonb_build_object('version', s.version, 'error', s.error)
from s
returning channel as _channel, "offset" as _offset, type as _event,
    data as _event_data, created_at as _event_time

-- name: schedule_pause
-- Schedule $1, which is locked, is paused or not ($2); its next time becomes
-- $3, done at $4.
with s as (
    update schedules t
    set paused = $2::boolean, next_at = $3::timestamptz,
        fire_at = $4::timestamptz, version = t.version + 1,
        event_seq = t.event_seq + 1, updated_at = now()
    where t.id = $1::uuid
    returning t.id, t.version, t.event_seq, t.paused
)
insert into events (channel, "offset", type, data)
select 'schedule:' || s.id::text, s.event_seq,
       case when s.paused then 'schedule.paused' else 'schedule.resumed' end,
       jsonb_build_object('version', s.version)
from s
returning channel as _channel, "offset" as _offset, type as _event,
    data as _event_data, created_at as _event_time

-- name: schedule_workflow (read)
-- A row when workflow $2 is theirs.
select t.id from workflows t
where t.id = $2::uuid and (t.owner_id = $1::uuid) is true
