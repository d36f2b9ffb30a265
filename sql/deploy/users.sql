-- Deploy hive:users to pg

begin;

create table hive.users (
    id                uuid primary key,
    email             text not null,
    name              text not null,
    is_active         boolean not null default true,
    is_superuser      boolean not null default false,
    email_verified_at timestamptz,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now(),
    version           bigint not null default 1,
    constraint users_email_check check (
        length(email) between 3 and 254 and email ~ '^[!-~]+@[!-~]+$'),
    constraint users_name_check check (length(name) between 1 and 200),
    constraint users_version_check check (version >= 1)
) with (fillfactor = 90);

-- One account per address in any case. Addresses are ASCII, and "C" folds
-- them alike whatever the locale of the cluster (Turkish has two letters i).
create unique index users_email_key
    on hive.users (lower(email collate "C"));
create index users_superusers on hive.users (id) where is_superuser;

-- Apart from users, so that reading a user never touches a hash.
create table hive.credentials (
    user_id       uuid primary key
                  references hive.users (id) on delete cascade,
    password_hash text not null,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    constraint credentials_password_hash_check check (
        password_hash ~ '^\$argon2id\$v=19\$m=[0-9]+,t=[0-9]+,p=[0-9]+\$'
        and length(password_hash) <= 512)
);

create table hive.sessions (
    id         uuid primary key,
    user_id    uuid not null references hive.users (id) on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    user_agent text,
    client_ip  inet,
    constraint sessions_expires_at_check check (expires_at > created_at),
    constraint sessions_user_agent_check check (length(user_agent) <= 400)
) with (autovacuum_vacuum_scale_factor = 0.05);

create index sessions_user_expires on hive.sessions (user_id, expires_at);

-- The link that makes the first administrator. Of the token only its SHA-256
-- is kept. One row at most: a new link ends the one before, and two set-ups
-- meet on the lock of the same row, so that one of them wins.
create table hive.setup_tokens (
    token_hash bytea primary key,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at    timestamptz,
    constraint setup_tokens_token_hash_check check (
        octet_length(token_hash) = 32)
);

create unique index setup_tokens_single on hive.setup_tokens ((true));

-- What stands for a token where there are no headers, in the URL of a
-- WebSocket: good once, for half a minute. Of it only its SHA-256 is kept. To
-- lose all in a crash costs a second try: they are not logged.
create unlogged table hive.tickets (
    token_hash bytea primary key,
    user_id    uuid not null,
    session_id uuid not null,
    expires_at timestamptz not null,
    constraint tickets_token_hash_check check (octet_length(token_hash) = 32)
);
create index tickets_expires on hive.tickets (expires_at);

grant select, insert, update on hive.users to hive;
grant select, insert, update on hive.credentials to hive;
grant select, insert, update, delete on hive.sessions to hive;
grant select, insert, update on hive.setup_tokens to hive;
grant select, insert, update, delete on hive.tickets to hive;

commit;
