# schema.t: the checks and grants of the schema (schema.sql, pgTAP), and the
# statements of sign-in under a race: of two that want one thing, one gets it.

use strict;
use warnings;
use Test::More;
use DBD::Pg qw(:async :pg_types);
use Digest::SHA qw(sha256);
use FindBin qw($Bin);
use Time::HiRes qw(sleep time);
use lib "$Bin/../lib";
use Hive::Test::Database;

my $server = Hive::Test::Database->new;
$server->create('hive');
my ($ok, $said) = $server->sqitch('hive', 'deploy');
ok $ok, 'deployed' or BAIL_OUT($said);
my $admin = $server->connect('hive', 'postgres');
$admin->do($_) for 'create schema tap', 'create extension pgtap schema tap',
    'grant usage on schema tap to hive';

# ---- pgTAP ----

my $tap = $server->pgtap('hive', "$Bin/schema.sql");
for my $line (split /\n/, $tap) {
    if ($line =~ /^(not )?ok \d+(?: - (.*))?/) {
        ok !$1, $2;
    } elsif ($line =~ /^#|ERROR/) {
        diag $line;
    }
}
like $tap, qr/^1\.\.\d+$/m, 'schema.sql ran to its end' or diag $tap;
unlike $tap, qr/ERROR/, 'without an error';

# ---- races ----

my $queries = $server->queries('identity.sql');
my $hash = '$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$dGFndGFndGFndGFndGFndGFn';

# Starts the statement; returns its handle, maybe still waiting for a lock.
sub start {
    my ($db, $name, @values) = @_;
    my $st = $db->prepare($queries->{$name}, { pg_async => PG_ASYNC });
    for my $i (0 .. $#values) {
        my $bytes = ref $values[$i];
        $st->bind_param($i + 1, $bytes ? ${ $values[$i] } : $values[$i],
            $bytes ? { pg_type => PG_BYTEA } : ());
    }
    $st->execute;
    return $st;
}

# Its rows, or the SQLSTATE it failed with.
sub finish {
    my ($st) = @_;
    my $rows = eval { $st->{Database}->pg_result };
    return $st->{Database}->state unless defined $rows;
    $st->finish;
    return $rows + 0;
}

sub waits {
    my ($st) = @_;
    sleep 0.15;
    return !$st->{Database}->pg_ready;
}

# Runs first(), holds its transaction open while second() begins, ends it by
# `how`; returns what each came to.
sub race {
    my ($how, $first, $second) = @_;
    my ($one, $two) = map { $server->connect('hive') } 1, 2;
    $one->begin_work;
    my $won = finish($first->($one));
    my $st = $second->($two);
    ok waits($st), 'the second waits for the first';
    $how eq 'commit' ? $one->commit : $one->rollback;
    my $lost = finish($st);
    $_->disconnect for $one, $two;
    return [$won, $lost];
}

sub user { my ($db, $email) = @_; return start($db, 'user_create', uuid(), $email, 'X', $hash) }

sub uuid {
    my ($id) = $admin->selectrow_array('select gen_random_uuid()');
    return $id;
}

is_deeply race('commit', sub { user($_[0], 'a@example.org') }, sub { user($_[0], 'A@EXAMPLE.ORG') }),
    [1, 0], 'of two registrations of an address, one is made';
is_deeply race('rollback', sub { user($_[0], 'b@example.org') }, sub { user($_[0], 'B@example.org') }),
    [1, 1], 'one that was rolled back leaves the address free';
is $admin->selectrow_array('select count(*) from users u join credentials c on c.user_id = u.id'),
    2, 'each has its credentials';

sub token { return \sha256($_[0]) }

sub link_made { my ($db, $token, $ttl) = @_; return finish(start($db, 'setup_token_create', token($token), $ttl // 3600)) }

sub setup {
    my ($db, $token, $email) = @_;
    return start($db, 'setup_complete', token($token), uuid(), $email, 'Admin', $hash);
}

sub used {
    return scalar $admin->selectrow_array('select count(used_at) from setup_tokens');
}

my $worker = $server->connect('hive');
is link_made($worker, 'one'), 1, 'a link is made';
is link_made($worker, 'two'), 1, 'and another';
is $admin->selectrow_array('select count(*) from setup_tokens'), 1, 'which ends the first';
is finish(setup($worker, 'one', 'c@example.org')), 0, 'the first is good no more';
is finish(setup($worker, 'wrong', 'c@example.org')), 0, 'nor is any other';
is finish(setup($worker, 'two', 'a@example.org')), '23505', 'a taken address is a violation';
is used(), 0, 'and leaves the token unused';
is link_made($worker, 'late', -1), 1, 'a link that has run out';
is finish(setup($worker, 'late', 'c@example.org')), 0, 'makes nobody';
is link_made($worker, 'good'), 1, 'a good link';
is_deeply race('rollback', sub { setup($_[0], 'good', 'c@example.org') },
    sub { setup($_[0], 'good', 'd@example.org') }),
    [1, 1], 'a set-up that was rolled back leaves the link to the second';
is $admin->do('delete from users where is_superuser'), 1, 'one administrator was made';
is link_made($worker, 'again'), 1, 'without an administrator there are links again';
is_deeply race('commit', sub { setup($_[0], 'again', 'e@example.org') },
    sub { setup($_[0], 'again', 'f@example.org') }),
    [1, 0], 'of two set-ups with one link, one is made';
is used(), 1, 'the link is used up';
is link_made($worker, 'more'), 0, 'with an administrator there are no links';
$admin->do(q(update setup_tokens set used_at = null));
is finish(setup($worker, 'again', 'g@example.org')), 0, 'nor set-ups';
is $admin->selectrow_array('select count(*) from users where is_superuser'), 1,
    'there is one administrator';

# ---- sessions ----

my ($user) = $admin->selectrow_array(q(select id from users where email = 'a@example.org'));
sub session { return finish(start($worker, 'session_create', uuid(), $_[0], 900, 'curl', '::1')) }
$admin->do(q(insert into sessions (id, user_id, created_at, expires_at)
    select gen_random_uuid(), ?, now() - interval '2 hours', now() - interval '1 hour'
    from generate_series(1, 30)), undef, $user);
is session($user), 1, 'a session is made';
is $admin->selectrow_array('select count(*) from sessions'), 11, 'and some that have ended are gone';
is session($user), 1, 'another';
is $admin->selectrow_array('select count(*) from sessions'), 2, 'and so are the others';
$admin->do('update users set is_active = false where id = ?', undef, $user);
is session($user), 0, 'none for a deactivated account';
is session(uuid()), 0, 'none for nobody';
is finish(start($worker, 'user_by_id', $user)), 0, 'a deactivated account is not read';
is finish(start($worker, 'user_by_email', 'A@Example.Org')), 1, 'but is found for its sign-in, in any case';
(my $other = $hash) =~ s/dGFn$/AAAA/;
is finish(start($worker, 'credential_rehash', $user, $other, $hash)), 0, 'a hash that changed meanwhile stays';
is finish(start($worker, 'credential_rehash', $user, $hash, $other)), 1, 'the one that was read is replaced';

# ---- plans ----

$admin->do(q(insert into users (id, email, name)
    select gen_random_uuid(), 'user' || n || '@example.org', 'User ' || n from generate_series(1, 5000) n));
$admin->do('insert into credentials (user_id, password_hash) select id, ? from users
    on conflict do nothing', undef, $hash);
$admin->do('analyze');
for my $case (['user_by_email', 'users_email_key', 'x@example.org'], ['user_by_id', 'users_pkey', uuid()]) {
    my ($name, $index, @values) = @$case;
    my $plan = join "\n", map { $_->[0] } @{ $admin->selectall_arrayref("explain $queries->{$name}", undef, @values) };
    like $plan, qr/\Q$index\E/, "$name reads by its index";
    unlike $plan, qr/Seq Scan on (?:users|credentials)/, "$name scans nothing" or diag $plan;
}
my $state = join "\n", map { $_->[0] } @{ $admin->selectall_arrayref(
    'explain select exists (select from users where is_superuser)') };
like $state, qr/users_superusers/, 'administrators are found by theirs';

$_->disconnect for $worker, $admin;
done_testing;
