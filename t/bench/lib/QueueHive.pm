package QueueHive;

# QueueHive.pm: Hive's side of the queue benches: its workers started and
# stopped at will, tasks put in through the database layer (t/lib/task_load),
# and drains measured by one method for Hive and for its peers:
#
#   workers are up and idle, and stopped (SIGSTOP); N jobs are put in; ANALYZE
#   and CHECKPOINT; the workers go on (SIGCONT); until the database holds no
#   unfinished job. CPU is that of the cluster's and of the workers' processes
#   in between: no start-up is counted, on either side.

use strict;
use warnings;
use Bench;
use DBI;
use Hive::Test;
use Hive::Test::Process;
use JSON::PP ();
use Time::HiRes qw(sleep time);

our $poll = 0.015;      # between looks at what is left, as the kit has it
our $limit = 120;       # seconds after which a drain is given up

# start(%options of Hive::Test): two worker processes unless said otherwise.
sub start {
    my ($class, %o) = @_;
    my $hive = Hive::Test->start(bench => 1, workers => 2, %o);
    my $self = bless { hive => $hive }, $class;
    $self->{db} = $self->connect('hive');
    $self->{user} = $hive->register;
    return $self;
}

sub hive { $_[0]{hive} }
sub db   { $_[0]{db} }
sub user { $_[0]{user} }

sub connect {
    my ($self, $database) = @_;
    my $db = DBI->connect("dbi:Pg:dbname=$database;host=" . $self->{hive}->pg_host, 'postgres', '',
        { RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1 });
    $db->do("set client_min_messages = warning");
    $db->do("set search_path = cell0, hive") if $database eq 'hive';
    return $db;
}

# ---- workers ----

# Starts the workers with these settings (HIVE_<SECTION>_<KEY>) and returns
# when all of them serve and have nothing to do.
sub start_workers {
    my ($self, %env) = @_;
    my $hive = $self->{hive};
    $self->stop_workers;
    $hive->{env} = \%env;
    $hive->{workers} = $env{HIVE_WORKER_PROCESSES} // 2;
    my $before = () = $hive->log('worker') =~ /worker \d+[ab] is ready/g;
    $hive->start_worker;
    $hive->wait_for(20, sub { (() = $hive->log('worker') =~ /worker \d+[ab] is ready/g) - $before >= $hive->{workers} })
        or die "the workers do not start:\n" . $hive->log_tail('worker');
    sleep 1.5;
    return $self->worker_pids;
}

sub stop_workers {
    my ($self) = @_;
    my $process = delete $self->{hive}{processes}{worker} or return;
    my $wrong = $process->stop('TERM', 40);
    print STDERR "bench: $wrong\n" if $wrong;
    return;
}

sub worker_pids { $_[0]{hive}->worker_pids }

# ---- tasks ----

# Nothing is in any table of tasks. Workers that run have statements on these
# tables, in other orders than a truncate locks them.
sub clear {
    my ($self) = @_;
    for my $try (1 .. 20) {
        return if eval {
            $self->{db}->do('truncate tasks, task_ready, task_claims, task_history, task_attempts, task_dependencies, runs, events');
            1;
        };
        die $@ unless $@ =~ /deadlock detected/;
        sleep 0.1;
    }
    die 'the tables of tasks are never free';
}

# task_load's answer: seconds, last.
sub load {
    my ($self, @options) = @_;
    my $text = Bench::run_command($self->{hive}->build . '/t/task_load', '-d',
        'host=' . $self->{hive}->pg_host . ' dbname=hive user=hive', '-o', $self->{user}{id}, @options);
    my ($line) = $text =~ /^(\{"seconds".*)$/m or die "task_load: $text";
    return JSON::PP::decode_json($line);
}

# One round of Hive with tasks of that kind: returns enqueue and drain (a second), pg and worker
# (microseconds each).
sub drain {
    my ($self, $kind, $jobs, $batch, %env) = @_;
    $self->start_workers(%env);
    $self->clear;
    my $db = $self->{db};
    my @pids = $self->worker_pids;
    my ($enqueued, $last);
    my $r = measure(
        postmaster => $self->{hive}->postmaster, pids => \@pids, jobs => $jobs,
        enqueue => sub {
            my $r = $self->load('-k', $kind, '-n', $jobs, '-b', $batch);
            $last = $r->{last};
            $db->do('analyze tasks');
            $db->do('checkpoint');
            return $r->{seconds};
        },
        ran => sub { !$db->selectrow_array('select exists (select from tasks where id = ?)', undef, $last) },
        left => sub { $db->selectrow_array('select exists (select from tasks)') },
    );
    my ($done) = $db->selectrow_array(q{select count(*) from task_history where state = 'succeeded' and attempt = 1});
    die "$done of $jobs tasks have succeeded at their first attempt" unless $done == $jobs;
    $self->stop_workers;
    return $r;
}

# What measures every engine alike. `enqueue` returns seconds; `ran` is a
# cheap look at whether all may be done, `left` asks the database.
sub measure {
    my (%o) = @_;
    kill STOP => @{ $o{pids} };
    my $enqueue = eval { $o{enqueue}->() };
    my $wrong = $@;
    sleep 1.2;      # polls are due when they go on
    my $pg = Bench::cpu($o{postmaster});
    my $worker = Bench::cpu(@{ $o{pids} });
    my $began = time;
    kill CONT => @{ $o{pids} };
    die $wrong if $wrong;
    sleep $poll until $o{ran}->() || time - $began > $limit;
    sleep $poll while $o{left}->() && time - $began <= $limit;
    my $seconds = time - $began;
    die "jobs are left after $limit s" if $seconds > $limit;
    return {
        enqueue => $o{jobs} / $enqueue,
        drain => $o{jobs} / $seconds,
        pg => 1e6 * (Bench::cpu($o{postmaster}) - $pg) / $o{jobs},
        worker => 1e6 * (Bench::cpu(@{ $o{pids} }) - $worker) / $o{jobs},
    };
}

# The same of a peer, through its driver and a connection to its database.
sub drain_peer {
    my ($self, $peers, $db, $spec, $jobs, $batch) = @_;
    my $about = $peers->call('setup', spec => $spec);
    my $pids = $peers->call('start', spec => $spec, processes => 2)->{pids};
    sleep 1.5;
    my $r = measure(
        postmaster => $self->{hive}->postmaster, pids => $pids, jobs => $jobs,
        enqueue => sub {
            my $seconds = $peers->call('enqueue', spec => $spec, jobs => $jobs, batch => $batch)->{seconds};
            $db->do($about->{analyze});
            $db->do('checkpoint');
            return $seconds;
        },
        ran => sub { $peers->call('count')->{n} >= $jobs },
        left => sub { $db->selectrow_array($about->{remaining}) },
    );
    $peers->call('stop');
    $db->do("drop schema if exists $_ cascade") for qw(graphile_worker pgboss);
    return $r;
}

sub stop {
    my ($self) = @_;
    $self->{db}->disconnect;
    return $self->{hive}->stop;
}

# ---- figures ----

sub quantile {
    my ($q, @values) = @_;
    my @sorted = sort { $a <=> $b } @values;
    return $sorted[int($q * $#sorted + 0.5)] // 0;
}

sub median { return quantile(0.5, @_) }

# The medians of rounds: [{..}, ..] to {..}.
sub medians {
    my (@rounds) = @_;
    return { map { my $key = $_; $key => median(map { $_->{$key} } @rounds) } keys %{ $rounds[0] } };
}

1;
