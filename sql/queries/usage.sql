-- The ledger of what models have cost (workers/llm/ledger.c, usage.c).

-- name: usage_open (insert)
-- Try $2 of whatever $3 to $9 say (owner, project, swarm, agent, run, task and
-- its attempt), by worker $10, at model $11 of provider $12, for a prompt of
-- about $13 tokens; $1 is its id. Of a task without a project given it is the
-- task's.
insert into usage (id, try, owner_id, project_id, swarm_id, agent_id, run_id,
    task_id, task_attempt, worker_id, model_id, provider, input_tokens)
values ($1::uuid, $2::smallint, $3::uuid, coalesce($4::uuid,
        (select t.project_id from tasks t where t.id = $8::uuid)),
    $5::uuid, $6::uuid, $7::uuid, $8::uuid, $9::smallint, $10::uuid, $11::text, $12::text,
    $13::bigint)

-- name: usage_note
-- Try $1, still under way, has made about $2 tokens of output.
update usage set output_tokens = $2::bigint
where id = $1::uuid and (state = 'open') is true

-- name: usage_close
-- Try $1 ended as $2 ($3: by our estimate), with these counts: input $4,
-- cache read $5, written $6 and $7, output $8, reasoning $9. First piece after
-- $10 ms; status $11, the provider's id $12, error $13. Also when somebody has
-- taken it for lost. Returns what it cost.
update usage u
set state = $2::text, estimated = $3::boolean, input_tokens = $4::bigint,
    cache_read_tokens = $5::bigint, cache_write_5m_tokens = $6::bigint,
    cache_write_1h_tokens = $7::bigint, output_tokens = $8::bigint,
    reasoning_tokens = $9::bigint, first_ms = $10::integer,
    http_status = $11::smallint, request_id = $12::text,
    error_code = $13::text, finished_at = now(), price_id = k.price_id,
    nano_usd = coalesce(k.input * $4::bigint + k.cache_read * $5::bigint
        + k.cache_write_5m * $6::bigint + k.cache_write_1h * $7::bigint
        + k.output * $8::bigint, 0)
from (
    select n.id, p.id as price_id, p.input, p.output, p.cache_read,
           p.cache_write_5m, p.cache_write_1h
    from usage n
    left join lateral usage_price(n.model_id, n.started_at,
        $4::bigint + $5::bigint + $6::bigint + $7::bigint) p on true
    where n.id = $1::uuid) k
where u.id = k.id and (u.state in ('open', 'lost')) is true
returning u.nano_usd

-- name: usage_lost
-- Closes up to $1 tries whose process is dead, by what is known of them.
-- Returns how many.
with gone as materialized (
    select u.id, p.id as price_id,
           coalesce(p.input * u.input_tokens + p.output * u.output_tokens, 0)
               as nano_usd
    from (select o.id, o.model_id, o.started_at, o.input_tokens,
                 o.output_tokens
          from usage o
          where o.state = 'open' and (select true from task_workers w
              where w.id = o.worker_id and w.dead_at is null) is null
          limit $1::bigint
          for update skip locked) u
    left join lateral usage_price(u.model_id, u.started_at, u.input_tokens) p
        on true
), closed as (
    update usage u
    set state = 'lost', estimated = true, finished_at = now(),
        error_code = 'worker_lost', price_id = g.price_id,
        nano_usd = g.nano_usd
    from gone g where u.id = g.id
    returning u.id
)
select count(*) as n from closed

-- name: usage_sums (read)
-- What caller $1 has used from $2 on and before $3, of project $4, swarm $5
-- and model $6 when those are not null; apart by day, model, project and swarm
-- as $7 to $10 say. At most $11 rows.
select case when $7::boolean then
           to_char(u.started_at at time zone 'UTC', 'YYYY-MM-DD') end as day,
       case when $8::boolean then u.model_id end as model,
       case when $9::boolean then u.project_id end as project_id,
       case when $10::boolean then u.swarm_id end as swarm_id,
       count(*) as tries,
       count(*) filter (where u.state = 'succeeded') as succeeded,
       count(*) filter (where u.state = 'open') as open,
       count(*) filter (where u.estimated and u.state <> 'open') as estimated,
       sum(u.input_tokens)::bigint as input_tokens,
       sum(u.cache_read_tokens)::bigint as cache_read_tokens,
       sum(u.cache_write_5m_tokens)::bigint as cache_write_5m_tokens,
       sum(u.cache_write_1h_tokens)::bigint as cache_write_1h_tokens,
       sum(u.output_tokens)::bigint as output_tokens,
       sum(u.reasoning_tokens)::bigint as reasoning_tokens,
       sum(u.nano_usd)::bigint as nano_usd
from usage u
where u.owner_id = $1::uuid and u.started_at >= $2::timestamptz
  and u.started_at < $3::timestamptz
  and ($4::uuid is null or u.project_id = $4) is true
  and ($5::uuid is null or u.swarm_id = $5) is true
  and ($6::text is null or u.model_id = $6) is true
group by 1, 2, 3, 4
order by 1 desc nulls last, sum(u.nano_usd) desc, 2, 3, 4
limit $11::bigint
