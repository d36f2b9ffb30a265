-- Verify hive:users on pg

begin;

\ir ../include/expect.sql

select pg_temp.expect('hive.users', $$
    column id uuid not null
    column email text not null
    column name text not null
    column is_active boolean not null true
    column is_superuser boolean not null false
    column email_verified_at timestamp with time zone
    column created_at timestamp with time zone not null now()
    column updated_at timestamp with time zone not null now()
    column version bigint not null 1
    constraint users_email_check CHECK ((((length(email) >= 3) AND (length(email) <= 254)) AND (email ~ '^[!-~]+@[!-~]+$'::text)))
    constraint users_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200)))
    constraint users_version_check CHECK ((version >= 1))
    constraint users_pkey PRIMARY KEY (id)
    index unique users_pkey btree (id)
    index unique users_email_key btree (lower((email COLLATE "C")))
    index users_superusers btree (id) WHERE is_superuser
    option fillfactor=90
    grant select
    grant insert
    grant update
$$);

select pg_temp.expect('hive.credentials', $$
    column user_id uuid not null
    column password_hash text not null
    column created_at timestamp with time zone not null now()
    column updated_at timestamp with time zone not null now()
    constraint credentials_password_hash_check CHECK (((password_hash ~ '^\$argon2id\$v=19\$m=[0-9]+,t=[0-9]+,p=[0-9]+\$'::text) AND (length(password_hash) <= 512)))
    constraint credentials_pkey PRIMARY KEY (user_id)
    constraint credentials_user_id_fkey FOREIGN KEY (user_id) REFERENCES hive.users(id) ON DELETE CASCADE
    index unique credentials_pkey btree (user_id)
    grant select
    grant insert
    grant update
$$);

select pg_temp.expect('hive.sessions', $$
    column id uuid not null
    column user_id uuid not null
    column created_at timestamp with time zone not null now()
    column expires_at timestamp with time zone not null
    column user_agent text
    column client_ip inet
    constraint sessions_expires_at_check CHECK ((expires_at > created_at))
    constraint sessions_user_agent_check CHECK ((length(user_agent) <= 400))
    constraint sessions_pkey PRIMARY KEY (id)
    constraint sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES hive.users(id) ON DELETE CASCADE
    index unique sessions_pkey btree (id)
    index sessions_user_expires btree (user_id, expires_at)
    option autovacuum_vacuum_scale_factor=0.05
    grant select
    grant insert
    grant update
    grant delete
$$);

select pg_temp.expect('hive.setup_tokens', $$
    column token_hash bytea not null
    column created_at timestamp with time zone not null now()
    column expires_at timestamp with time zone not null
    column used_at timestamp with time zone
    constraint setup_tokens_token_hash_check CHECK ((octet_length(token_hash) = 32))
    constraint setup_tokens_pkey PRIMARY KEY (token_hash)
    index unique setup_tokens_pkey btree (token_hash)
    index unique setup_tokens_single btree ((true))
    grant select
    grant insert
    grant update
$$);

select pg_temp.expect('hive.tickets', $$
    column token_hash bytea not null
    column user_id uuid not null
    column session_id uuid not null
    column expires_at timestamp with time zone not null
    constraint tickets_token_hash_check CHECK ((octet_length(token_hash) = 32))
    constraint tickets_pkey PRIMARY KEY (token_hash)
    index unique tickets_pkey btree (token_hash)
    index tickets_expires btree (expires_at)
    grant select
    grant insert
    grant update
    grant delete
$$);

rollback;
