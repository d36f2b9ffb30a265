-- The catalogue of models and their prices (workers/llm/models*.c).

-- name: model_list (read)
-- Models, with the price in force of each; of provider $1 and status $2 when
-- those are not null.
select m.id, m.provider, m.display_name, m.family, m.context_tokens,
       m.max_output_tokens, m.capabilities, m.status, m.retires_at,
       m.replacement, coalesce(p.prices, '[]'::jsonb) as prices,
       m.created_at, m.updated_at
from models m
left join lateral (
    select jsonb_agg(model_price(p)
               order by p.above_tokens) as prices
    from model_prices p
    where p.model_id = m.id and p.effective_from = (
        select max(q.effective_from) from model_prices q
        where q.model_id = m.id and q.effective_from <= now())
) p on true
where ($1::text is null or m.provider = $1)
  and ($2::text is null or m.status = $2)
order by m.id

-- name: model_get (read)
-- Model $1, with all its prices, the latest first.
select m.id, m.provider, m.display_name, m.family, m.context_tokens,
       m.max_output_tokens, m.capabilities, m.status, m.retires_at,
       m.replacement, coalesce(p.prices, '[]'::jsonb) as prices,
       m.created_at, m.updated_at
from models m
left join lateral (
    select jsonb_agg(model_price(p)
               order by p.effective_from desc, p.above_tokens) as prices
    from model_prices p where p.model_id = m.id
) p on true
where m.id = $1::text

-- name: model_find (read)
-- What a generation needs to know of model $1.
select m.id, m.provider, m.provider_model, m.max_output_tokens::bigint,
       m.replacement,
       m.status = 'retired' or coalesce(m.retires_at <= now(), false)
           as retired,
       'sampling' = any (m.capabilities) as sampling,
       'json_schema' = any (m.capabilities) as schema
from models m where m.id = $1::text

-- name: models_load
-- Puts the models of JSON array $1 in the catalogue; returns those that are
-- new or another now.
insert into models as m (id, provider, provider_model, display_name, family,
    context_tokens, max_output_tokens, capabilities, status, retires_at,
    replacement)
select g.id, g.provider, coalesce(g.provider_model, g.id), g.display_name,
       g.family, g.context_tokens, g.max_output_tokens, g.capabilities,
       g.status, g.retires_at, g.replacement
from jsonb_to_recordset($1::jsonb) g (id text, provider text,
    provider_model text, display_name text, family text,
    context_tokens integer, max_output_tokens integer, capabilities text[],
    status text, retires_at timestamptz, replacement text)
on conflict (id) do update
set provider = excluded.provider, provider_model = excluded.provider_model,
    display_name = excluded.display_name, family = excluded.family,
    context_tokens = excluded.context_tokens,
    max_output_tokens = excluded.max_output_tokens,
    capabilities = excluded.capabilities, status = excluded.status,
    retires_at = excluded.retires_at, replacement = excluded.replacement,
    updated_at = now()
where (m.provider, m.provider_model, m.display_name, m.family,
       m.context_tokens, m.max_output_tokens, m.capabilities, m.status,
       m.retires_at, m.replacement)
    is distinct from (excluded.provider, excluded.provider_model,
       excluded.display_name, excluded.family, excluded.context_tokens,
       excluded.max_output_tokens, excluded.capabilities, excluded.status,
       excluded.retires_at, excluded.replacement)
returning m.id

-- name: model_prices_load
-- Adds the prices of models $1 that are not there. Returns those that are
-- there with other figures, which stay.
with given as (
    select m.id as model_id, p.*
    from jsonb_to_recordset($1::jsonb) m (id text, prices jsonb)
    cross join jsonb_to_recordset(m.prices) p (effective_from timestamptz,
        above_tokens integer, input bigint, output bigint, cache_read bigint,
        cache_write_5m bigint, cache_write_1h bigint)
), made as (
    insert into model_prices (model_id, effective_from, above_tokens, input,
        output, cache_read, cache_write_5m, cache_write_1h)
    select model_id, effective_from, coalesce(above_tokens, 0), input, output,
           cache_read, cache_write_5m, cache_write_1h
    from given
    on conflict on constraint model_prices_key do nothing
)
select g.model_id, g.effective_from::text
from given g
join model_prices p on p.model_id = g.model_id
    and p.effective_from = g.effective_from
    and p.above_tokens = coalesce(g.above_tokens, 0)
where (p.input, p.output, p.cache_read, p.cache_write_5m, p.cache_write_1h)
    <> (g.input, g.output, g.cache_read, g.cache_write_5m, g.cache_write_1h)
