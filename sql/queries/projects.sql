-- Projects, where the resource engine is not enough. $1 is always the caller,
-- who must be the owner.

-- name: project_get (read)
-- Project $2. No row: absent or not theirs.
select t.id, t.owner_id, t.name, t.description, t.archived_at, t.version,
       t.created_at, t.updated_at
from projects t
where t.id = $2::uuid and (t.owner_id = $1::uuid) is true

-- name: project_archive
-- Archives project $2, whose version is one of $3 when that is given. No row:
-- absent, not theirs, another version, or archived already.
with changed as (
    update projects t
    set archived_at = now(), updated_at = now(), version = t.version + 1,
        event_seq = t.event_seq + 1
    where t.id = $2::uuid and (t.owner_id = $1::uuid) is true
      and t.archived_at is null
      and ($3::text[] is null or t.version::text = any($3::text[]))
    returning t.id, t.owner_id, t.name, t.description, t.archived_at,
              t.version, t.created_at, t.updated_at, t.event_seq
), event as (
    insert into events (channel, "offset", type, data)
    select 'project:' || c.id::text, c.event_seq, 'project.archived',
           jsonb_build_object('version', c.version)
    from changed c
    returning channel, "offset", type, data, created_at
)
select c.id, c.owner_id, c.name, c.description, c.archived_at, c.version,
       c.created_at, c.updated_at, e.channel as _channel,
       e."offset" as _offset, e.type as _event, e.data as _event_data,
       e.created_at as _event_time
from changed c, event e

-- name: project_unarchive
-- The reverse of project_archive. No row: absent, not theirs, another version,
-- or not archived.
with changed as (
    update projects t
    set archived_at = null, updated_at = now(), version = t.version + 1,
        event_seq = t.event_seq + 1
    where t.id = $2::uuid and (t.owner_id = $1::uuid) is true
      and t.archived_at is not null
      and ($3::text[] is null or t.version::text = any($3::text[]))
    returning t.id, t.owner_id, t.name, t.description, t.archived_at,
              t.version, t.created_at, t.updated_at, t.event_seq
), event as (
    insert into events (channel, "offset", type, data)
    select 'project:' || c.id::text, c.event_seq, 'project.unarchived',
           jsonb_build_object('version', c.version)
    from changed c
    returning channel, "offset", type, data, created_at
)
select c.id, c.owner_id, c.name, c.description, c.archived_at, c.version,
       c.created_at, c.updated_at, e.channel as _channel,
       e."offset" as _offset, e.type as _event, e.data as _event_data,
       e.created_at as _event_time
from changed c, event e

-- name: project_config_get (read)
-- The configuration of project $2. No row: absent or not theirs.
select t.config, t.version
from projects t
where t.id = $2::uuid and (t.owner_id = $1::uuid) is true

-- name: project_config_put
-- Replaces the configuration of project $2, whose version is one of $3 when
-- that is given, by $4. No row: absent, not theirs, or another version.
with changed as (
    update projects t
    set config = $4::jsonb, updated_at = now(), version = t.version + 1,
        event_seq = t.event_seq + 1
    where t.id = $2::uuid and (t.owner_id = $1::uuid) is true
      and ($3::text[] is null or t.version::text = any($3::text[]))
    returning t.id, t.config, t.version, t.event_seq
), event as (
    insert into events (channel, "offset", type, data)
    select 'project:' || c.id::text, c.event_seq, 'project.config_updated',
           jsonb_build_object('version', c.version)
    from changed c
    returning channel, "offset", type, data, created_at
)
select c.config, c.version, e.channel as _channel,
       e."offset" as _offset, e.type as _event, e.data as _event_data,
       e.created_at as _event_time
from changed c, event e
