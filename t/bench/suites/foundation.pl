# foundation.pl: one request from nginx to Postgres and back.

use strict;
use warnings;
use Bench;
use Peers;
use Hive::Test;
use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(encode_base64url);
use JSON::PP ();
use List::Util qw(min);

my $users = 1000;
my $each  = 40;             # projects a user has
my $n     = $users * $each;

my $hive;

my $random_project = "\\set i random(1, $n)\n\\set u (:i - 1) % $users + 1\n";
my $project_sql = "('00000000-0000-7000-8000-' || lpad(to_hex((:i)::bigint), 12, '0'))::uuid";
my $user_sql    = "('00000000-0000-7000-9000-' || lpad(to_hex((:u)::bigint), 12, '0'))::uuid";

sub project_id { sprintf '00000000-0000-7000-8000-%012x', $_[0] }
sub user_id    { sprintf '00000000-0000-7000-9000-%012x', $_[0] }
sub owner_of   { ($_[0] - 1) % $users + 1 }

sub token {
    my ($user, $secret) = @_;
    my $now = time;
    my @parts = map { encode_base64url(JSON::PP->new->canonical->encode($_)) }
        { alg => 'HS256', typ => 'JWT', kid => $hive->{key_id} },
        { iss => $hive->{issuer}, aud => $hive->{audience}, sub => user_id($user), sid => user_id($user),
          iat => $now, nbf => $now, exp => $now + 86400, jti => "$user",
          email => "user$user\@example.test", name => "User $user", superuser => JSON::PP::false };
    my $text = join '.', @parts;
    return "$text." . encode_base64url(hmac_sha256($text, $secret));
}

sub seed {
    $hive->psql(<<"SQL");
insert into hive.users (id, email, name)
select ('00000000-0000-7000-9000-' || lpad(to_hex(i), 12, '0'))::uuid, 'user' || i || '\@example.test', 'User ' || i
from generate_series(1, $users) i;
insert into cell0.projects (id, owner_id, name, description, created_at, updated_at)
select ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid,
       ('00000000-0000-7000-9000-' || lpad(to_hex((i - 1) % $users + 1), 12, '0'))::uuid,
       'Project ' || i,
       rpad('An application being built by a team of agents and people on the platform. Number ' || i || '. ', 190, 'plans, code, tests; '),
       timestamptz '2026-01-01' + i * interval '61.007 s', timestamptz '2026-06-01' + i * interval '67.013 s'
from generate_series(1, $n) i;
vacuum (analyze) cell0.projects;
vacuum (analyze) hive.users;
SQL
}

# The statement by which a worker creates a project, as Postgres saw it, with
# expressions for its parameters: id, owner, name, description.
sub create_statement {
    my ($auth) = @_;
    my $log = sub { $hive->psql("alter system set log_statement = '$_[0]'"); $hive->psql('select pg_reload_conf()'); select undef, undef, undef, 0.3 };
    $log->('all');
    my $body = '{"name":"the one that is logged","description":"of the bench"}';
    my $tx = $hive->ua->post($hive->url('/api/v1/projects') => { %$auth, 'Content-Type' => 'application/json' } => $body);
    die 'create: ' . $tx->res->body unless ($tx->res->code // 0) == 201;
    $log->('none');
    my ($text, $values) = $hive->log('postgres') =~ /execute \S+: (with changed as \(insert into projects.*?)\n\S[^\n]*DETAIL:\s+parameters: ([^\n]*)/s
        or die "the log does not hold the statement:\n" . $hive->log_tail('postgres');
    my %is;
    while ($values =~ /\$(\d+) = '((?:[^']|'')*)'/g) { $is{$1} = $2 }
    my $new = "(substr(md5(random()::text || clock_timestamp()), 1, 8) || '-0000-7000-8000-' || lpad(to_hex((random() * 1e14)::bigint), 12, '0'))::uuid";
    my @uuids = grep { $is{$_} =~ /^[0-9a-f-]{36}$/ } keys %is;
    my ($owner) = grep { $is{$_} eq user_id(1) } @uuids;
    my ($id) = grep { $is{$_} ne user_id(1) } @uuids;
    my @values = map { $_ == $owner ? $user_sql : $_ == $id ? $new
        : $is{$_} =~ /logged/ ? "'pgbench project'::text" : "repeat('lorem ipsum ', 16)" } 1 .. keys %is;
    return with_params($text, @values);
}

sub rss {
    my $sum = 0;
    my $worst = 0;
    for my $pid (@_) {
        open my $fh, '<', "/proc/$pid/status" or next;
        while (<$fh>) {
            if (/^VmRSS:\s+(\d+)/) { my $mb = $1 / 1024; $sum += $mb; $worst = $mb if $mb > $worst }
        }
    }
    return { sum => $sum, worst => $worst };
}

# A named statement, or one the resource engine composed, with expressions
# for its parameters: what pgbench runs.
sub with_params {
    my ($text, @values) = @_;
    $text =~ s/\$(\d+)/'(' . $values[$1 - 1] . ')'/ge;
    return $text;
}

return sub {
    my ($o) = @_;
    my $seconds = $o->{seconds};
    my $want = sub { !$o->{only} || $_[0] =~ /$o->{only}/ };
    my $peers = Peers::available();

    Bench::progress('starting Hive with its own Postgres');
    $hive = Hive::Test->start(bench => 1);
    my $base = $hive->url('');
    $base =~ s{/$}{};
    seed();
    my $secret = $hive->secret;
    my @tokens = (undef, map { token($_, $secret) } 1 .. $users);
    my $auth = sub { { Authorization => "Bearer $tokens[$_[0]]" } };
    my %pids = (nginx => [$hive->nginx_master], worker => [$hive->worker_master], postgres => [$hive->postmaster]);
    my %pg = (host => $hive->pg_host, port => $hive->pg_port, user => 'postgres', database => 'hive',
        postmaster => $hive->postmaster);
    my $random = sub { 1 + int rand $n };

    # Enough requests that each user's token is met; the same number for all.
    my %requests = (
        health => [Bench::http_request('GET', '/health')],
        plain => [Bench::http_request('GET', '/return200')],
        whoami => [map { Bench::http_request('GET', '/api/v1/auth/whoami', $auth->(1 + $_ % $users)) } 1 .. 8192],
        project => [map { my $i = $random->(); Bench::http_request('GET', '/api/v1/projects/' . project_id($i), $auth->(owner_of($i))) } 1 .. 16384],
        list => [map { Bench::http_request('GET', '/api/v1/projects?archived=false&limit=20', $auth->(1 + int rand $users)) } 1 .. 8192],
        create => [map { Bench::http_request('POST', '/api/v1/projects', $auth->(1 + int rand $users),
            sprintf '{"name":"Bench project %d","description":"%s"}', $_, substr('the agent reads the spec; writes the code; runs every test; ' x 4, 0, 200)) } 1 .. 8192],
    );
    my %file = map { $_ => Bench::write_requests(@{ $requests{$_} }) } keys %requests;
    my $load = sub {
        my ($what, %more) = @_;
        return Bench::load(base => $base, file => $file{$what}, seconds => $seconds, warm => 1, pids => \%pids,
            expect => $what eq 'create' ? 201 : 200, %more);
    };
    my $errors = 0;
    my $bad = sub { my ($name, $r) = @_; $errors += $r->{errors}; return $r->{errors} ? "$r->{errors} errors (status $r->{error_status})" : '' };

    Bench::wait_quiet(15, 30);
    Bench::heading(sprintf 'foundation: %d users, %d projects, %d s a figure, 64 connections', $users, $n, $seconds);
    my $rest_nginx = rss($hive->nginx_pids);
    my $rest_worker = rss($hive->worker_pids);

    if ($want->('health whoami')) {
        my $r = Bench::in_turn(3, map { my $what = $_; $what => sub { $load->($what) } } qw(plain health whoami));
        my ($plain, $health, $whoami) = @$r{qw(plain health whoami)};
        Bench::row('return 200, nginx itself', $plain->{rps}, '/s', undef, undef, $bad->('plain', $plain));
        Bench::row('health / return 200', $health->{rps} / $plain->{rps}, 'ratio', 0.9, 'min', sprintf('%.0f/s %s', $health->{rps}, $bad->('health', $health)));
        Bench::row('whoami / return 200', $whoami->{rps} / $plain->{rps}, 'ratio', 0.6, 'min', sprintf('%.0f/s %s', $whoami->{rps}, $bad->('whoami', $whoami)));
    }

    my ($read, $list, $create);
    if ($want->('project read')) {
        my $r = Bench::in_turn(3, read => sub { $load->('project') },
            bare => sub { Bench::pgbench(%pg, seconds => $seconds, script => $random_project
                . with_params($hive->statement('project_get'), $user_sql, $project_sql)) });
        my $bare = $r->{bare};
        $read = $r->{read};
        Bench::row('pgbench, project by id, 16 clients', $bare->{rps}, '/s', undef, undef, sprintf 'Postgres %.1f us', $bare->{cpu});
        Bench::row('project read / pgbench', $read->{rps} / $bare->{rps}, 'ratio', 0.45, 'min', sprintf('%.0f/s %s', $read->{rps}, $bad->('project', $read)));
        # hosts have slow moments, which are longer than a hundredth of the time
        my $calm = min(map { my $r = $load->('project', seconds => 1, warm => 0); $r->{p99} / $r->{p50} } 1 .. 8);
        Bench::row('project read p99 / p50', $calm, 'ratio', 10, 'max', sprintf 'the least of 8 looks of a second; of all above %.1f: p50 %.2f ms, p99 %.2f ms',
            $read->{p99} / $read->{p50}, $read->{p50}, $read->{p99});
        Bench::row('project read CPU, nginx and worker', $read->{cpu}{nginx} + $read->{cpu}{worker}, 'us', 26, 'max',
            sprintf 'nginx %.1f, worker %.1f; client %.1f; other %.0f %%', $read->{cpu}{nginx}, $read->{cpu}{worker}, $read->{client}, $read->{other});
        Bench::row('project read CPU, Postgres', $read->{cpu}{postgres}, 'us', 12, 'max');

        $r = Bench::in_turn(2, alone => sub { $load->('project', connections => 1, seconds => 3) },
            one => sub { Bench::pgbench(%pg, seconds => 3, clients => 1, script => $random_project
                . with_params($hive->statement('project_get'), $user_sql, $project_sql)) });
        my ($one, $alone) = @$r{qw(one alone)};
        Bench::row('one connection: request less bare query', $alone->{p50} - $one->{latency}, 'ms', 0.4, 'max',
            sprintf 'request p50 %.3f ms, query %.3f ms', $alone->{p50}, $one->{latency});
    }
    if ($want->('list')) {
        $list = Bench::in_turn(2, list => sub { $load->('list') })->{list};
        Bench::row('list of 20', $list->{rps}, '/s', undef, undef, sprintf('%.0f bytes; nginx %.1f, worker %.1f, Postgres %.1f us %s',
            $list->{body}, @{ $list->{cpu} }{qw(nginx worker postgres)}, $bad->('list', $list)));
    }
    if ($want->('create')) {
        my $statement = $random_project . create_statement($auth->(1));
        my $r = Bench::in_turn(2, create => sub { $load->('create') },
            bare => sub { Bench::pgbench(%pg, seconds => $seconds, script => $statement) });
        my $bare = $r->{bare};
        $create = $r->{create};
        Bench::row('pgbench, insert with event, 16 clients', $bare->{rps}, '/s', undef, undef, '');
        Bench::row('create / pgbench', $create->{rps} / $bare->{rps}, 'ratio', 0.6, 'min', sprintf('%.0f/s %s', $create->{rps}, $bad->('create', $create)));
    }

    if ($peers && $want->('peers')) {
        Peers::prepare();
        my %peer;
        for my $name (qw(fastify fastapi)) {
            Bench::progress("measuring $name");
            my $p = Peers::start($name);
            for my $endpoint ($name eq 'fastify' ? qw(project tasks create) : qw(project)) {
                my $file = Bench::write_requests(Peers::requests($endpoint, 8192));
                $peer{$name}{$endpoint} = Bench::in_turn(2, it => sub { Bench::load(base => $p->{base}, file => $file, seconds => $seconds,
                    warm => 2, pids => $p->{pids}, expect => $endpoint eq 'create' ? 201 : 200) })->{it};
            }
            Peers::stop($name);
        }
        Peers::clean();
        Peers::shut();
        my $against = sub {
            my ($name, $mine, $theirs, $bar) = @_;
            return unless $mine;
            Bench::row($name, $mine->{rps} / $theirs->{rps}, 'ratio', $bar, 'min', sprintf('%.0f/s, server %.1f us, Postgres %.1f us%s', $theirs->{rps},
                $theirs->{cpu}{server}, $theirs->{cpu}{postgres}, $theirs->{errors} ? " $theirs->{errors} errors" : ''));
        };
        $against->('project read / Fastify', $read, $peer{fastify}{project}, 2);
        Bench::row('project read CPU, nginx and worker / Fastify', ($read->{cpu}{nginx} + $read->{cpu}{worker}) / $peer{fastify}{project}{cpu}{server},
            'ratio', 0.47, 'max', 'the machine of the bars: 26 us, 55 us') if $read;
        $against->('project read / FastAPI with asyncpg', $read, $peer{fastapi}{project}, 3.5);
        $against->('list of 20 / Fastify', $list, $peer{fastify}{tasks}, 1.5);
        $against->('create / Fastify', $create, $peer{fastify}{create}, 1.3);
    } elsif (!$peers) {
        Bench::row("$_ (no ../shared/peers here)", undef, 'ratio', 1, 'min')
            for 'project read / Fastify', 'project read / FastAPI with asyncpg', 'list of 20 / Fastify', 'create / Fastify';
    }

    if ($want->('memory')) {
        Bench::row('RSS at rest, nginx worker', $rest_nginx->{worst}, 'MB', 20, 'max');
        Bench::row('RSS at rest, hive-worker', $rest_worker->{worst}, 'MB', 20, 'max');
        # What grows shows between two equal loads; the first fills the pools.
        my $million = sub { my $sum = 0; while ($sum < $_[0]) { $sum += Bench::load(base => $base, file => $file{project}, seconds => 5, warm => 0)->{requests} } $sum };
        $million->(200_000);
        my ($n0, $w0) = (rss($hive->nginx_pids), rss($hive->worker_pids));
        Bench::progress('a million requests');
        my $done = $million->(1_000_000);
        my ($n1, $w1) = (rss($hive->nginx_pids), rss($hive->worker_pids));
        Bench::row('RSS growth over 1 M requests, nginx', $n1->{sum} - $n0->{sum}, 'MB', 0.5, 'max', sprintf '%.1f to %.1f MB, %d requests', $n0->{sum}, $n1->{sum}, $done);
        Bench::row('RSS growth over 1 M requests, workers', $w1->{sum} - $w0->{sum}, 'MB', 0.5, 'max', sprintf '%.1f to %.1f MB', $w0->{sum}, $w1->{sum});
    }
    Bench::row('errors in all runs', $errors, '', 0, 'max');
    $hive->stop;
};
