# tasks.pl: the engine of durable tasks, beside the queue peers.
#
# Hive and its peers work in one cluster, Hive's own, with the settings that
# the kit of the peers asks for, over the same socket, one after another: so
# both meet the same server, and neither its settings nor another cluster
# beside it favour one. Rounds are interleaved and their medians compared.

use strict;
use warnings;
use Bench;
use QueueHive;
use QueuePeers;
use JSON::PP ();
use List::Util qw(min);
use Time::HiRes qw(time sleep);

my $rounds = 5;
my $jobs   = 50_000;
my $batch  = 5_000;

my ($it, $hive, $db);       # QueueHive, its Hive::Test, its connection

my %quiet = (HIVE_TASKS_EVENTS => 'off');

sub until_true {
    my ($seconds, $code) = @_;
    my $until = time + $seconds;
    sleep 0.004 until $code->() || time > $until;
    return time <= $until;
}

sub count { return ($db->selectrow_array($_[0]))[0] }

sub api {
    my ($method, $path, $json) = @_;
    my $res = $hive->request($method, "/api/v1$path", $it->user, $json);
    die "$method $path: " . ($res->code // 'no answer') . ' ' . $res->body unless ($res->code // 0) =~ /^2/;
    return $res->json;
}

# A client that costs little: one connection kept, one request after another.
# Returns what sends a POST and gives the body of its 201.
sub plain_client {
    my ($path, $json) = @_;
    my $request = Bench::http_request('POST', "/api/v1$path", { Authorization => 'Bearer ' . $it->user->{token} }, JSON::PP::encode_json($json));
    my $socket = $hive->connect;
    return sub {
        syswrite $socket, $request;
        my $text = '';
        while (1) {
            sysread $socket, $text, 65536, length $text or die "POST $path: the connection is closed";
            my ($head, $body) = split /\r\n\r\n/, $text, 2;
            next unless defined $body && $head =~ /^content-length: (\d+)/mi && length $body >= $1;
            die "POST $path: $text" unless $head =~ m{^HTTP/1.1 201};
            return $body;
        }
    };
}

# Hosts have slow moments, longer than what is looked at here: what a thing
# takes is the least of some looks at it.
sub least {
    my ($looks, $code) = @_;
    return min(map { sleep 0.3 if $_ > 1; $code->() } 1 .. $looks);
}

# ---- drain and enqueue, against the peers ----

sub drains {
    my ($peers) = @_;
    my @specs = $peers ? ('graphile:batch', 'pgboss:batch') : ();
    my (%rounds, $driver, $theirs);
    if ($peers) {
        $driver = QueuePeers->new($hive);
        $theirs = $it->connect('queuebench');
    }
    for my $round (1 .. $rounds) {
        Bench::progress("drain, round $round of $rounds");
        push @{ $rounds{$_} }, $it->drain_peer($driver, $theirs, $_, $jobs, $batch) for @specs;
        push @{ $rounds{quiet} }, $it->drain('noop', $jobs, $batch, %quiet);
        push @{ $rounds{events} }, $it->drain('noop', $jobs, $batch);
        push @{ $rounds{fibers} }, $it->drain('sleep', $jobs, $batch, %quiet) if $round <= 3;
    }
    if ($peers) {
        $theirs->disconnect;
        $driver->close;
    }
    my %r = map { $_ => QueueHive::medians(@{ $rounds{$_} }) } keys %rounds;
    my ($quiet, $events, $fibers, $graphile, $pgboss) = @r{ qw(quiet events fibers), 'graphile:batch', 'pgboss:batch' };
    my $cpu = sub { $_[0]{pg} + $_[0]{worker} };
    my $say = sub { $_[0] ? sprintf('%.0f/s, Postgres %.1f us, workers %.1f us', @{ $_[0] }{qw(drain pg worker)}) : 'no ../shared/peers here' };
    my $over = sub { $_[1] ? $_[0] / $_[1] : undef };

    Bench::row('drain of 50,000, graphile-worker', $graphile->{drain}, '/s', undef, undef, $say->($graphile)) if $graphile;
    Bench::row('drain of 50,000, pg-boss', $pgboss->{drain}, '/s', undef, undef, $say->($pgboss)) if $pgboss;
    Bench::row('drain / graphile-worker', $over->($quiet->{drain}, $graphile && $graphile->{drain}), 'ratio', 1.5, 'min', $say->($quiet));
    Bench::row('drain / pg-boss', $over->($quiet->{drain}, $pgboss && $pgboss->{drain}), 'ratio', 2.5, 'min', '');
    Bench::row('CPU a task / graphile-worker', $over->($cpu->($quiet), $graphile && $cpu->($graphile)), 'ratio', 0.65, 'max',
        sprintf '%.1f us%s', $cpu->($quiet), $graphile ? sprintf(' to %.1f', $cpu->($graphile)) : '');
    Bench::row('CPU a task with events / graphile-worker', $over->($cpu->($events), $graphile && $cpu->($graphile)), 'ratio', 0.8, 'max', $say->($events));
    # what does not end at once is seen to run, on a fiber of its own
    Bench::row('drain of 50,000 sleeps of 0 ms', $fibers->{drain}, '/s', undef, undef, $say->($fibers));
    enqueues($graphile);
    return;
}

# Tasks that nothing runs (slots = 0), so that only the way in is measured.
sub enqueues {
    my ($graphile) = @_;
    my @parts = map { { kind => 'noop', input => { id => $_ } } } 1 .. 1000;
    my $body = JSON::PP::encode_json({ action => 'create', items => \@parts });
    my $file = Bench::write_requests(Bench::http_request('POST', '/api/v1/tasks/batch',
        { Authorization => 'Bearer ' . $it->user->{token} }, $body));
    my %best = (layer => [], one => [], four => []);
    $it->start_workers(%quiet, HIVE_TASKS_SLOTS => 0);
    $hive->wait_up;
    for my $round (1 .. $rounds) {
        $it->clear;
        push @{ $best{layer} }, $jobs / $it->load('-n', $jobs, '-b', $batch)->{seconds};
        for my $way ([one => 1], [four => 4]) {
            $it->clear;
            my $r = Bench::load(base => $hive->url(''), file => $file, connections => $way->[1], seconds => 2, warm => 0);
            die "POST /tasks/batch: $r->{errors} errors" if $r->{errors};
            push @{ $best{ $way->[0] } }, 1000 * $r->{rps};
        }
    }
    $it->clear;
    my %r = map { $_ => QueueHive::median(@{ $best{$_} }) } keys %best;
    Bench::row('batch enqueue / graphile-worker', $graphile ? $r{layer} / $graphile->{enqueue} : undef, 'ratio', 1.8, 'min',
        sprintf '%.0f/s%s', $r{layer}, $graphile ? sprintf(' to %.0f/s', $graphile->{enqueue}) : '');
    Bench::row('POST /tasks/batch / that, 4 connections', $r{four} / $r{layer}, 'ratio', 0.4, 'min',
        sprintf '%.0f/s; one connection %.0f/s, %.2f', $r{four}, $r{one}, $r{one} / $r{layer});
    return;
}

# ---- latency ----

# From the commit of the insert, as its commit record says it (which is before
# its flush; a trigger leaves a row that keeps its transaction), to the
# statement that ends the task beginning (which is after the executor ran):
# more than what is asked, on both sides.
sub latency {
    $it->start_workers();
    $hive->wait_up;
    $it->clear;
    my $n = 300;
    $db->do($_) for 'create table bench_made (id uuid)', 'grant insert on bench_made to hive',
        'create function bench_note() returns trigger language plpgsql as $$ begin insert into cell0.bench_made values (new.id); return null; end $$',
        'create trigger bench_note after insert on tasks for each row execute function bench_note()';
    for (1 .. 20) { api(POST => '/tasks', { kind => 'noop' }); sleep 0.02 }      # plans are made
    $db->do('delete from bench_made');
    my (@replied, @ids);
    for (1 .. $n) {
        push @ids, api(POST => '/tasks', { kind => 'noop' })->{id};
        push @replied, time;
        sleep 0.010 + rand 0.010;
    }
    until_true(5, sub { !count('select exists (select from tasks)') });
    my $rows = $db->selectall_hashref(<<'SQL', 'id');
select h.id, extract(epoch from h.finished_at) as finished,
       1000 * extract(epoch from h.finished_at - pg_xact_commit_timestamp(m.xmin)) as ms
from task_history h join bench_made m on m.id = h.id
SQL
    $db->do($_) for 'drop trigger bench_note on tasks', 'drop function bench_note()', 'drop table bench_made';
    my @ms = map { $_->{ms} } values %$rows;
    die scalar(@ms) . " of $n tasks ran" unless @ms == $n;
    my @heard = map { 1000 * ($rows->{ $ids[$_] }{finished} - $replied[$_]) } 0 .. $#ids;
    my $note = sprintf 'from the reply: p50 %.2f, p95 %.2f; max %.1f ms', QueueHive::quantile(0.5, @heard),
        QueueHive::quantile(0.95, @heard), QueueHive::quantile(1, @ms);
    Bench::row('idle start latency, p50', QueueHive::quantile(0.5, @ms), 'ms', 2, 'max', $note);
    Bench::row('idle start latency, p95', QueueHive::quantile(0.95, @ms), 'ms', 5, 'max', '');
    return;
}

# ---- flows ----

sub flows {
    my ($peers) = @_;
    my ($n, $fan) = (500, 10);
    $it->start_workers(%quiet);
    $hive->wait_up;
    $it->clear;
    my @middle = map { "m$_" } 1 .. $fan;
    my $workflow = api(POST => '/workflows', { name => 'flow', steps => [
        { name => 'r', kind => 'noop' },
        (map { { name => $_, kind => 'noop', depends_on => ['r'] } } @middle),
        { name => 'j', kind => 'noop', depends_on => \@middle },
    ] })->{id};
    my $run = plain_client("/workflows/$workflow/runs", {});
    my $left = sub { count(q{select exists (select from runs where state = 'running')}) };

    my @alone;
    for (1 .. 30) {
        my $began = time;
        my ($id) = $run->() =~ /"id":"([^"]+)"/;
        until_true(10, sub { !$left->() }) or die 'a flow does not end';
        push @alone, 1000 * (count("select extract(epoch from finished_at) from runs where id = '$id'") - $began);
        sleep 0.05;
    }
    Bench::row('1 -> 10 -> 1 flow alone', QueueHive::median(@alone), 'ms', 10, 'max', sprintf 'from before the request; max %.1f ms', QueueHive::quantile(1, @alone));

    my (@ours, @theirs);
    for my $round (1 .. 3) {
        $run = plain_client("/workflows/$workflow/runs", {});    # nginx ends one after 1,000 requests
        my $began = time;
        $run->() for 1 .. $n;
        my $submitted = time - $began;
        until_true(60, sub { !$left->() }) or die 'flows do not end';
        push @ours, { rate => $n * ($fan + 2) / (time - $began), submitted => $n / $submitted };
        push @theirs, QueuePeers::flows($hive, $n, $fan) if $peers;
    }
    $it->stop_workers;
    my $ours = QueueHive::medians(@ours);
    my %peer;
    push @{ $peer{ $_->{dag} } }, $_ for @theirs;
    my ($best, $name) = (undef, 'no ../shared/peers here');
    for my $dag (sort keys %peer) {
        my $rate = QueueHive::median(map { $_->{tasks_s} } @{ $peer{$dag} });
        Bench::row("500 flows, $dag", $rate, '/s', undef, undef, sprintf 'one alone %.0f ms', $peer{$dag}[0]{single_flow_ms_p50});
        ($best, $name) = ($rate, $dag) if !defined $best || $rate > $best;
    }
    Bench::row('500 flows / best peer', defined $best ? $ours->{rate} / $best : undef, 'ratio', 3, 'min',
        sprintf '%.0f tasks/s, submitted %.0f flows/s by one client, one request each; best: %s', $ours->{rate}, $ours->{submitted}, $name);
    return;
}

# All parents are ready at once, for 8 processes, and one task waits for all.
sub fan_in {
    my ($n, $times) = (10_000, 20);
    $it->start_workers(%quiet, HIVE_WORKER_PROCESSES => 8, HIVE_DATABASE_READ_LANES => 1, HIVE_DATABASE_WRITE_LANES => 4,
        HIVE_DATABASE_INSERT_LANES => 1, HIVE_DATABASE_TRANSACTIONS => 2);
    my @pids = $it->worker_pids;
    my ($stranded, @seconds) = (0);
    for my $time (1 .. $times) {
        $it->clear;
        kill STOP => @pids;
        my $join = eval { $it->load('-f', '-n', $n)->{last} };
        my $wrong = $@;
        sleep 1.1;
        my $began = time;
        kill CONT => @pids;
        die $wrong if $wrong;
        my $ended = until_true(30, sub { count("select exists (select from task_history where id = '$join' and state = 'succeeded')") });
        push @seconds, time - $began;
        $stranded += !$ended || count('select count(*) from tasks') > 0 || count('select count(*) from task_history') != $n + 1;
    }
    $it->stop_workers;
    Bench::row('fan-in of 10,000, 8 processes', QueueHive::quantile(1, @seconds), 's', 1, 'max',
        sprintf 'the slowest of %d; median %.2f s', $times, QueueHive::median(@seconds));
    Bench::row("stranded joins in $times runs", $stranded, '', 0, 'max', '');
    return;
}

# ---- behind what cannot be vacuumed ----

# Claims of one, one after another, from the turn where the last one ended; and
# beside them the workers' own as they are logged, cold, each by itself.
sub held_snapshot {
    my $n = 100_000;
    $it->start_workers(%quiet);
    $hive->wait_up;
    $it->clear;
    my $holder = $it->connect('hive');
    $holder->do('begin isolation level repeatable read');
    $holder->selectrow_array('select count(*) from tasks');
    $it->load('-n', $n, '-b', $batch);
    until_true(60, sub { !count('select exists (select from tasks)') }) or die 'the tasks do not end';
    my $durations = sub {
        my $log = sub { $hive->psql("alter system set log_min_duration_statement = $_[0]"); $hive->psql('select pg_reload_conf()'); sleep 0.3 };
        $log->(0);
        my $from = length $hive->log('postgres');
        for (1 .. 200) { api(POST => '/tasks', { kind => 'noop' }); sleep 0.008 }
        sleep 0.5;
        $log->(1000);
        my $text = substr $hive->log('postgres'), $from;
        my (@took, %bind);
        while ($text =~ /\[(\d+)\] [^\n]*duration: ([\d.]+) ms  (bind|execute) [^:]*: with q as \(\s*delete from task_ready r\b(?:(?!LOG:).)*?insert into task_claims/sg) {
            if ($3 eq 'bind') { $bind{$1} = $2; next }
            push @took, $2 + (delete $bind{$1} // 0);
        }
        return QueueHive::median(@took);
    };
    my $cold = $durations->();
    $it->stop_workers;
    my $last = count('select max(turn) from task_history');
    my $claims = sub {
        my ($from) = @_;
        $it->load('-n', 400, '-b', 400);
        $db->do("update task_ready set turn = turn + $from");     # behind what was claimed
        return claims_in_turn(1, 30, $from, 10);
    };
    my $held = $claims->($last);
    $holder->do('rollback');
    $holder->disconnect;
    $it->clear;
    $db->do("vacuum $_") for qw(tasks task_ready task_claims);
    my $fresh = $claims->(0);
    Bench::row('claim behind 100,000 held dead rows', $held, 'ms', 0.2, 'max',
        sprintf 'in a fresh table %.3f ms; by workers that were idle %.3f ms', $fresh, $cold);
    $it->clear;
    return;
}

# The workers' statement, in a session that is as theirs and does not wait for
# the disk: the median of `n` claims of `batch` in milliseconds, the least of
# so many looks.
sub claims_in_turn {
    my ($batch, $n, $from, $looks) = @_;
    my $session = $it->connect('hive');
    $session->do("set $_") for 'synchronous_commit = off', 'plan_cache_mode = force_generic_plan', 'enable_seqscan = off',
        'enable_hashjoin = off', 'enable_mergejoin = off';
    (my $text = $hive->statement('engine_claim')) =~ s/^--.*\n//mg;
    my $me = '00000000-0000-7000-8000-0000000000ff';
    $session->do("prepare claim as $text");
    my $ms = least($looks, sub {
        return QueueHive::median(map {
            my $began = time;
            my $rows = $session->selectall_arrayref("execute claim('noop', $batch, $from, '$me', gen_random_uuid())");
            die 'there was less to claim' if @$rows != $batch;
            1000 * (time - $began);
        } 1 .. $n);
    });
    $session->do("delete from task_claims where worker_id = '$me'");
    $session->disconnect;
    return $ms;
}

# ---- a million rows ----

sub fill {
    my ($history, $ready) = @_;
    my $owner = $it->user->{id};
    $it->clear;
    # a day in thirty each, the last in the days that are there; 100 owners
    $db->do(<<"SQL");
insert into task_history (id, owner_id, turn, run_at, created_at, updated_at, state, kind, title, description, labels, attempt, worker_id, started_at, finished_at)
select i.id, case when n % 2 = 0 then '$owner' else ('00000000-0000-7000-9000-' || lpad(to_hex(n % 100), 12, '0'))::uuid end,
       n, i.at, i.at, i.at, case when n % 10 = 0 then 'failed' else 'succeeded' end, 'kind' || n % 20,
       'Task ' || n, 'word' || n % 1000 || ' the agent reads the spec, writes the code, runs every test', array['label' || n % 50],
       1, gen_random_uuid(), i.at, i.at
from generate_series(1, $history) n
cross join lateral (select now() - interval '30 days' + n * (interval '30 days' / $history) as at) a
cross join lateral (select a.at, (lpad(to_hex(floor(extract(epoch from a.at) * 1000)::bigint), 12, '0') || '7000' || '8000' || lpad(to_hex(n), 12, '0'))::uuid as id) i
SQL
    $db->do(<<"SQL");
insert into tasks (id, owner_id, turn, run_at, created_at, state, kind, title, description, labels)
select (lpad(to_hex(floor(extract(epoch from now()) * 1000)::bigint), 12, '0') || '7001' || '8000' || lpad(to_hex(n), 12, '0'))::uuid,
       case when n % 2 = 0 then '$owner' else ('00000000-0000-7000-9000-' || lpad(to_hex(n % 100), 12, '0'))::uuid end,
       n, now(), now(), 'ready', 'noop', 'Task ' || n, 'word' || n % 1000 || ' waits', array['label' || n % 50]
from generate_series(1, $ready) n
SQL
    $db->do('insert into task_ready (lane, turn, id) select kind, turn, id from tasks');
    $db->do($_) for 'vacuum analyze task_history', 'vacuum analyze tasks', 'vacuum analyze task_ready', 'checkpoint';
    return;
}

my %lists = (
    list => 'limit=20', ready => 'state=ready&limit=20', failed => 'state=failed&limit=20',
    kind => 'kind=kind4&limit=20', label => 'labels=label4&limit=20', search => 'q=word4&limit=20',
    oldest => 'sort=created_at&limit=20',
);

sub list_latencies {
    my %ms;
    for my $name (sort keys %lists) {
        my $file = Bench::write_requests(Bench::http_request('GET', "/api/v1/tasks?$lists{$name}", { Authorization => 'Bearer ' . $it->user->{token} }));
        $ms{$name} = least(3, sub {
            my $r = Bench::load(base => $hive->url(''), file => $file, connections => 1, seconds => 1, warm => 1);
            die "GET /tasks?$lists{$name}: $r->{errors} errors, status $r->{error_status}" if $r->{errors};
            return $r->{p50};
        });
    }
    return \%ms;
}

sub million {
    my (%at, $size);
    $it->start_workers(%quiet, HIVE_TASKS_SLOTS => 0);
    $hive->wait_up;
    my $days = count("select count(*) from partition_days where relation = 'task_history'");
    for my $back (1 .. 30) {     # as if the instance were a month old
        $db->do(<<"SQL");
do \$\$ declare d date := (now() at time zone 'UTC')::date - $back; p text := 'task_history_' || to_char(d, 'YYYYMMDD'); begin
    if to_regclass(p) is null then
        execute format('create table %I partition of task_history for values from (%L) to (%L)', p,
            id_floor(d::timestamp at time zone 'UTC'), id_floor((d + 1)::timestamp at time zone 'UTC'));
    end if;
end \$\$
SQL
    }
    for my $step ([small => 1000, 1000], [large => 1_000_000, 100_000]) {
        ($size, my ($history, $ready)) = @$step;
        Bench::progress("$history rows of history, $ready ready");
        fill($history, $ready);
        $at{$size} = { %{ list_latencies() }, 'claim of 1' => claims_in_turn(1, 20, -9e9, 10), 'claim of 100' => claims_in_turn(100, 1, -9e9, 8) };
    }
    my ($small, $large) = @at{qw(small large)};
    for my $name (sort keys %$small) {
        my $what = $lists{$name} ? "GET /tasks?$lists{$name}" : $name;
        Bench::row("1,000,000 rows / 1,000: $what", $large->{$name} / $small->{$name}, 'ratio', 1.5, 'max',
            sprintf '%.2f ms to %.2f ms', $large->{$name}, $small->{$name});
    }
    $it->clear;
    return;
}

return sub {
    my ($o) = @_;
    my $peers = QueuePeers::available();
    my $want = sub { !$o->{only} || $_[0] =~ /$o->{only}/ };
    QueuePeers::prepare() if $peers;
    Bench::progress('starting Hive with its own Postgres');
    $it = QueueHive->start(postgres_settings => QueuePeers::postgres_settings() . "track_commit_timestamp = on\n");
    ($hive, $db) = ($it->hive, $it->db);
    $hive->psql('create database queuebench', database => 'postgres') if $peers;
    Bench::wait_quiet(15, 30);
    Bench::heading("tasks: $jobs jobs, 2 worker processes, medians of $rounds interleaved rounds");
    drains($peers) if $want->('drain enqueue');
    latency() if $want->('latency');
    flows($peers) if $want->('flows');
    fan_in() if $want->('fan-in');
    held_snapshot() if $want->('snapshot');
    million() if $want->('million');
    $it->stop;
};
