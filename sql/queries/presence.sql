-- Who watches a channel now (workers/realtime/presence.c). Whoever changes that
-- has the turn, so that of the connections of a user the first and the last
-- are told apart.

-- name: presence_turn
-- Waits until no other transaction changes who is there.
select pg_advisory_xact_lock(hashtextextended('presence', 3))

-- name: presence_report
-- Process $1 of nginx has $5 connections of users $4 on channels $3, 0: none
-- any more; $2: and no others. Returns who came and who left by that.
with k as materialized (
    select channel, user_id, max(n) as n
    from unnest($3::text[], $4::uuid[], $5::integer[])
        k (channel, user_id, n)
    group by channel, user_id
), node as (
    insert into presence_nodes (node, seen_at) values ($1::uuid, now())
    on conflict (node) do update set seen_at = now()
), changed as materialized (
    select k.channel, k.user_id, k.n, p.connections as had
    from k
    left join presence p on p.channel = k.channel and p.user_id = k.user_id
        and p.node = $1
    union all
    select p.channel, p.user_id, 0, p.connections
    from presence p
    where $2::boolean and p.node = $1
      and (p.channel::text, p.user_id) not in (
          select k.channel, k.user_id from k)
), put as (
    insert into presence (channel, user_id, node, connections)
    select channel, user_id, $1, n from changed
    where n > 0 and n is distinct from had
    on conflict (channel, user_id, node)
        do update set connections = excluded.connections
), gone as (
    delete from presence p using changed c
    where c.n = 0 and p.channel = c.channel and p.user_id = c.user_id
      and p.node = $1
)
select c.channel, c.user_id, case when c.n > 0 then 'presence.join'
           else 'presence.leave' end as type
from changed c
where (c.n > 0) <> (c.had is not null)
  and (select true from presence o
       where o.channel = c.channel and o.user_id = c.user_id
         and o.node <> $1 limit 1) is null

-- name: presence_sweep
-- Processes that were silent for $1 ms are dead; returns who left by that.
with dead as (
    delete from presence_nodes n
    where n.seen_at < now() - $1::integer * interval '1 ms'
    returning n.node
), gone as (
    delete from presence p using dead d where p.node = d.node
    returning p.channel, p.user_id
)
select distinct g.channel, g.user_id, 'presence.leave' as type
from gone g
where (select true from presence o
       where o.channel = g.channel and o.user_id = g.user_id
         and o.node not in (select d.node from dead d) limit 1) is null

-- name: presence_users (read)
-- Who watches channel $1, up to $2 of them.
select p.user_id, sum(p.connections) as connections
from presence p
where p.channel = $1::text
group by p.user_id
order by p.user_id
limit $2::bigint
