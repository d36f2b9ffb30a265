package Hive::Test;

# Test.pm: a whole Hive for a test: Postgres, workers and nginx of its own, on
# a free port, in a folder of its own, with the configuration of ./dev up.
#
#     my $hive = Hive::Test->start(workers => 2);
#     my $ada = $hive->register;
#     my $res = $hive->post('/api/v1/projects', $ada, { name => 'x' });
#     is $res->code, 201;
#     $hive->stop;
#     done_testing;
#
# start(%options):
#   workers => 2, nginx_workers => 2   processes of either kind
#   worker_connections => 4096         of an nginx worker
#   ini => { worker => { fibers => 8 } }     worker.ini, key by key
#   http => 'directives'               replace those of that name, or are added
#   server => 'directives', main => 'directives'    are added
#   postgres_settings => 'lines'       of postgresql.conf
#   env => { HIVE_FAULT => '...' }     of the workers
#   nginx_preload => 'file.so'         in the place of functions that nginx calls
#   deadline => seconds                of every request, and below it of
#                                      statements
#   bench => 1                         durable and sized as ./dev up has it
#   postgres => 0, worker => 0, nginx => 0   leave that part out
#   wait => 0                          do not wait until it is ready
#
# stop() (called at the end in any case) fails the test when a process did
# not stop by itself, or a log has an alert, a sanitizer report or a failed
# assertion that allow(qr/.../) did not announce.

use strict;
use warnings;
use Carp qw(croak);
use File::Temp ();
use IO::Socket::INET;
use Mojo::JSON qw(decode_json encode_json);
use Mojo::UserAgent;
use Test::More ();
use Time::HiRes qw(sleep time);

use Hive::Test::Cluster;
use Hive::Test::Process;

our $top = $Hive::Test::Cluster::top;
our $build = $ENV{HIVE_BUILD} // 'build';
delete $ENV{MALLOC_TRIM_THRESHOLD_};      # was for this process alone
$build = "$top/$build" unless $build =~ m{^/};

my @instances;
my $serial = 0;

# What no log may hold. nginx says [alert] for what should never happen; for a
# child that somebody killed too, and only we send signal 9.
my $expected = qr/worker process \d+ exited on signal 9\b/;
my $poison = qr/\[(?:alert|emerg)\]|Sanitizer|runtime error:|[Aa]ssertion|[Ll]eaked|panic/;

# ---- life ----

sub start {
    my ($class, %o) = @_;
    my $self = bless {
        workers => 2, nginx_workers => 2, postgres => 1, worker => 1, nginx => 1, wait => 1,
        key_id => 'dev', issuer => 'hive', audience => 'hive', allow => [], %o, owner => $$,
    }, $class;
    if ($o{deadline}) {
        $self->{http} .= join '', map { "\nhive_deadline $_ $o{deadline}s;" } qw(read write auth);
        $self->{ini}{database}{statement_timeout} //= int(900 * $o{deadline}) . 'ms';
        $self->{ini}{database}{lock_timeout} //= int(500 * $o{deadline}) . 'ms';
    }
    $self->{dir} = File::Temp::tempdir('t-XXXXXX', DIR => Hive::Test::Cluster::base(), CLEANUP => 0);
    chmod 0755, $self->{dir};
    push @instances, $self;
    $self->write_files;
    $self->start_postgres if $self->{postgres};
    $self->start_worker if $self->{worker};
    $self->start_nginx if $self->{nginx};
    $self->wait_ready if $self->{wait} && $self->{nginx} && $self->{worker};
    return $self;
}

sub write_files {
    my ($self) = @_;
    my $dir = $self->{dir};
    $self->{port} = free_port();
    if ($self->{postgres}) {
        Hive::Test::Cluster::copy("$dir/pg");
    }
    else {
        mkdir "$dir/pg", 0700;
    }
    local $ENV{PROCESSES} = $self->{workers};
    my $log = `'$top/tools/dev/test-instance' files '$dir' $self->{port} 2>&1`;
    die "cannot write the configuration:\n$log" if $?;
    install("$build/hive-worker", "$dir/bin/hive-worker") if $self->{worker};
    install("$build/ngx_http_hive_module.so", "$dir/bin/ngx_http_hive_module.so") if $self->{nginx};
    $self->write_postgres if $self->{postgres};
    $self->write_ini;
    $self->write_nginx;
    return;
}

sub install {
    my ($from, $to) = @_;
    system('install', '-m', '755', $from, $to) == 0 or die "there is no $from: make (or ./dev test) builds it\n";
    return;
}

# Tests kill processes, never the machine: they need no fsync.
sub write_postgres {
    my ($self) = @_;
    my $more = $self->{postgres_settings} // '';
    $more .= "\nfsync = off\nshared_buffers = 32MB\n" unless $self->{bench};
    append("$self->{dir}/pg/hive.conf", "$more\n");
    return;
}

sub write_ini {
    my ($self) = @_;
    my (%ini, @order, $section);
    for (split /\n/, slurp("$self->{dir}/worker.ini")) {
        if (/^\[(\w+)\]/) { $section = $1; push @order, $1 }
        elsif (/^(\w+)\s*=\s*(.*)/) { $ini{$section}{$1} = $2 }
    }
    for my $name (sort keys %{ $self->{ini} // {} }) {
        push @order, $name unless $ini{$name};
        my $keys = $self->{ini}{$name};
        for my $key (keys %$keys) {
            if (defined $keys->{$key}) { $ini{$name}{$key} = $keys->{$key} }
            else { delete $ini{$name}{$key} }
        }
    }
    my $text = '';
    for my $name (@order) {
        $text .= "[$name]\n" . join('', map { "$_ = $ini{$name}{$_}\n" } sort keys %{ $ini{$name} });
    }
    spew("$self->{dir}/worker.ini", $text);
    return;
}

sub write_nginx {
    my ($self) = @_;
    my $text = slurp("$self->{dir}/nginx.conf");
    $text =~ s/^worker_processes \d+/worker_processes $self->{nginx_workers}/m;
    $text =~ s/ buffer=64k flush=1s// unless $self->{bench};
    $text =~ s/worker_connections \d+/worker_connections $self->{worker_connections}/ if $self->{worker_connections};
    for my $line (split /\n/, $self->{http} // '') {
        my ($name) = $line =~ /^\s*(\w+)/ or next;
        $text =~ s/^    \Q$name\E .*\n//mg unless $name =~ /^(?:hive_deadline|hive_jwt_key|server|map|limit_req_zone)$/;
    }
    $text =~ s/^    server \{/($self->{http} \/\/ '') . "\n    server {"/me;
    $text =~ s/^        location \/ \{/($self->{server} \/\/ '') . "\n        location \/ {"/me;
    my $return = 'location = /return200 { default_type application/json; '
        . q(return 200 '{"status":"ok","version":"0.1.0","workers":2,"ready":2}'; });
    $text =~ s/^        location \/ \{/        $return\n\n        location \/ {/m if $self->{bench};
    my $main = $self->{main} // '';
    $main .= "\nenv GCOV_PREFIX;\nenv ASAN_OPTIONS;\nenv UBSAN_OPTIONS;";
    $text =~ s/^(worker_processes)/$main\n$1/m;
    spew("$self->{dir}/nginx.conf", $text);
    return;
}

sub start_postgres {
    my ($self) = @_;
    $self->{processes}{postgres} = Hive::Test::Process->start(
        name => 'postgres', as_service => 1, log => "$self->{dir}/log/postgres.log",
        command => ["$Hive::Test::Cluster::bin/postgres", '-D', "$self->{dir}/pg"],
    );
    my $until = time + 30;
    until (defined eval { $self->psql('select 1', database => 'postgres') }) {
        die "Postgres does not start:\n" . $self->log_tail('postgres')
            if time > $until || !$self->{processes}{postgres}->alive;
        sleep 0.03;
    }
    # pgbench runs the workers' statements, which name no schema
    $self->psql('alter role postgres in database hive set search_path = cell0, hive, public') if $self->{bench};
    return;
}

sub start_worker {
    my ($self) = @_;
    $self->{processes}{worker} = Hive::Test::Process->start(
        name => 'worker', as_service => 1, log => "$self->{dir}/log/worker.log",
        command => ["$self->{dir}/bin/hive-worker", '-c', "$self->{dir}/worker.ini"],
        env => { sanitizer_env(), %{ $self->{env} // {} } },
    );
    return;
}

# The port was free a moment ago; should somebody have been faster, another
# is taken.
sub start_nginx {
    my ($self) = @_;
    for my $try (1 .. 5) {
        $self->{processes}{nginx} = Hive::Test::Process->start(
            name => 'nginx', log => "$self->{dir}/log/nginx.out", env => { $self->nginx_env },
            command => ['/usr/sbin/nginx', '-p', "$self->{dir}/nginx", '-e', "$self->{dir}/log/nginx.log",
                '-c', "$self->{dir}/nginx.conf", '-g', 'daemon off;'],
        );
        return if $self->wait_port(10);
        my $log = $self->log_tail('nginx.out') . $self->log_tail('nginx');
        die "nginx does not start:\n$log" unless $log =~ /Address already in use/;
        my $old = $self->{port};
        $self->{port} = free_port();
        (my $text = slurp("$self->{dir}/nginx.conf")) =~ s/127\.0\.0\.1:$old/127.0.0.1:$self->{port}/g;
        spew("$self->{dir}/nginx.conf", $text);
        unlink "$self->{dir}/log/nginx.log", "$self->{dir}/log/nginx.out";
    }
    die "no free port\n";
}

sub sanitizer_env {
    return () unless $build =~ /asan/;
    return (
        ASAN_OPTIONS => 'detect_odr_violation=0:detect_leaks=0:abort_on_error=0',
        UBSAN_OPTIONS => 'print_stacktrace=1:halt_on_error=1',
    );
}

# The sanitizers' library is to be the first.
sub nginx_env {
    my ($self) = @_;
    my @preload = $build =~ /asan/ ? `gcc -print-file-name=libasan.so` =~ /(.+)/ : ();
    push @preload, $self->{nginx_preload} if $self->{nginx_preload};
    return (sanitizer_env(), @preload ? (LD_PRELOAD => join ':', @preload) : ());
}

sub wait_port {
    my ($self, $seconds) = @_;
    my $until = time + $seconds;
    while (time < $until && $self->{processes}{nginx}->alive) {
        return 1 if IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Timeout => 1);
        sleep 0.02;
    }
    return 0;
}

# Waits until /health/ready says 200; dies with the logs when it does not.
sub wait_ready {
    my ($self, $seconds) = @_;
    my $until = time + ($seconds // 20);
    my $answer;
    while (time < $until) {
        $answer = $self->get('/health/ready');
        return 1 if ($answer->code // 0) == 200;
        last if $self->{worker} && !$self->{processes}{worker}->alive;
        sleep 0.03;
    }
    die 'not ready: ' . ($answer ? $answer->body : '') . "\n" . $self->log_tail('worker') . $self->log_tail('nginx');
}

# Waits until every nginx worker has heard every worker process that runs:
# after one was killed, until its successor serves.
sub wait_up {
    my ($self, $seconds) = @_;
    return $self->wait_for($seconds // 20, sub {
        my @workers = $self->worker_pids;
        my %nginx = map { $_ => 1 } $self->nginx_pids;
        return 0 unless @workers == $self->{workers} && keys %nginx == $self->{nginx_workers};
        my %heard;
        for (split /\n/, $self->log('nginx')) {
            $heard{$2}{$1} = 1 if /\[\w+\] (\d+)#.*\(process (\d+)\) is up/ && $nginx{$1};
        }
        return !grep { keys %{ $heard{$_} // {} } != keys %nginx } @workers;
    });
}

# Stops everything, and fails the test for whatever was wrong.
sub stop {
    my ($self) = @_;
    my @wrong = $self->end;
    Test::More::fail($_) for @wrong;
    return !@wrong;
}

sub end {
    my ($self) = @_;
    return if $self->{ended}++;
    my @wrong;
    $self->psql_end($self->{psql}) if $self->{psql};
    for my $each ([nginx => 'QUIT', 15], [worker => 'TERM', 20], [postgres => 'INT', 20]) {
        my ($name, $signal, $seconds) = @$each;
        my $process = $self->{processes}{$name} or next;
        my $wrong = $process->stop($signal, $seconds);
        push @wrong, $wrong if $wrong && !$self->allowed($wrong);
    }
    push @wrong, $self->log_problems;
    if (@wrong) {
        Test::More::diag("$self->{dir}:\n", map { $self->log_tail($_) } qw(nginx worker));
    }
    if ($ENV{HIVE_TEST_KEEP}) {
        Test::More::diag("kept $self->{dir}");
    }
    else {
        system 'rm', '-rf', $self->{dir};
    }
    return @wrong;
}

sub log_problems {
    my ($self) = @_;
    my @problems;
    for my $name (qw(nginx nginx.out worker)) {
        my %seen;
        for (split /\n/, $self->log($name)) {
            next unless /$poison/ && !$self->allowed($_) && !$seen{ s/[\d:\/ #]+//gr }++;
            push @problems, "$name log: $_";
        }
    }
    return @problems > 5 ? @problems[0 .. 4] : @problems;
}

# Announces lines that the logs may hold.
sub allow {
    my ($self, @patterns) = @_;
    push @{ $self->{allow} }, @patterns;
    return;
}

sub allowed {
    my ($self, $line) = @_;
    return scalar grep { $line =~ $_ } $expected, @{ $self->{allow} };
}

END {
    my $status = $?;
    for my $self (@instances) {
        next if $self->{ended} || $self->{owner} != $$;
        for my $wrong ($self->end) {
            Test::More::diag($wrong);
            $status ||= 1;
        }
    }
    $? = $status;
}

$SIG{$_} = sub { exit 130 } for qw(INT TERM HUP);

# ---- where ----

sub url { "http://127.0.0.1:$_[0]{port}" . ($_[1] // '') }
sub port { $_[0]{port} }
sub dir { $_[0]{dir} }
sub pg_host { "$_[0]{dir}/run" }
sub pg_port { 5432 }
sub secret { slurp("$_[0]{dir}/secrets/token.key") }

# ---- HTTP ----

sub ua {
    my ($self) = @_;
    return $self->{ua} //= Mojo::UserAgent->new(
        max_redirects => 0, connect_timeout => 5, inactivity_timeout => 60, request_timeout => 60,
        max_connections => 20,
    );
}

# request(METHOD => path, user, json, headers): user is what register returned
# (or undef), json a structure to send (or undef); headers a hash. Returns the
# Mojo::Message::Response; its code is undef when there was no answer. A
# {_body} in headers is sent as it is.
sub request {
    my ($self, $method, $path, $user, $json, $headers) = @_;
    my %headers = %{ $headers // {} };
    $headers{Authorization} //= "Bearer $user->{token}" if $user;
    my $body = delete $headers{_body};
    if (defined $json) {
        $body = encode_json($json);
        $headers{'Content-Type'} //= 'application/json';
    }
    my $tx = $self->ua->build_tx($method => $self->url($path) => \%headers => ($body // ()));
    return $self->ua->start($tx)->res;
}

for my $method (qw(GET POST PUT PATCH DELETE HEAD OPTIONS)) {
    no strict 'refs';
    *{ lc $method } = sub { my $self = shift; return $self->request($method, @_) };
}

# Sends those bytes on a connection of their own and returns all that comes
# back until the other side closes, or for that long.
sub raw {
    my ($self, $bytes, $seconds) = @_;
    my $socket = $self->connect;
    $socket->syswrite($bytes);
    my ($all, $until) = ('', time + ($seconds // 2));
    while ((my $left = $until - time) > 0) {
        vec(my $set = '', $socket->fileno, 1) = 1;
        select $set, undef, undef, $left or last;
        $socket->sysread($all, 65536, length $all) or last;
    }
    return $all;
}

# An open connection to nginx, for tests that speak HTTP by hand.
sub connect {
    my ($self) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Timeout => 5)
        or croak "connect: $@";
    $socket->autoflush(1);
    return $socket;
}

# Registers a new account and signs it in. Returns { id, email, name,
# password, token }.
sub register {
    my ($self, %o) = @_;
    my $n = ++$serial;
    my %user = (email => "user$n-$$\@example.test", name => "User $n", password => "a long walk by sea $n", %o);
    my $res = $self->post('/api/v1/auth/register', undef, { map { $_ => $user{$_} } qw(email name password) });
    croak 'register: ' . ($res->code // 'no answer') . ' ' . $res->body unless ($res->code // 0) == 201;
    return $self->login(\%user);
}

# Signs in anew: takes and returns what register returned.
sub login {
    my ($self, $user) = @_;
    my $res = $self->post('/api/v1/auth/login', undef, { map { $_ => $user->{$_} } qw(email password) });
    croak 'login: ' . ($res->code // 'no answer') . ' ' . $res->body unless ($res->code // 0) == 200;
    $user->{token} = $res->json->{access_token};
    my $me = $self->get('/api/v1/auth/whoami', $user);
    $user->{id} = $me->json->{user_id} if ($me->code // 0) == 200;
    return $user;
}

# The token of an account of that address, registered when need be.
sub account {
    my ($self, $email) = @_;
    return $self->{accounts}{$email} //= $self->register(email => $email)->{token};
}

# Metrics by name with labels, as they stand in the text: { 'a{b="c"}' => 1 }.
sub metrics {
    my ($self) = @_;
    my $res = $self->get('/metrics');
    croak 'metrics: ' . ($res->code // 'no answer') unless ($res->code // 0) == 200;
    return { map { /^([^#]\S*(?:\{.*\})?) (\S+)$/ ? ($1 => $2) : () } split /\n/, $res->body };
}

# Sum over the series of that name whose labels match.
sub metric {
    my ($self, $name, $labels) = @_;
    my $all = $self->metrics;
    my $sum = 0;
    for my $key (grep { /^\Q$name\E(?:\{|$)/ } keys %$all) {
        $sum += $all->{$key} if !defined $labels || $key =~ $labels;
    }
    return $sum;
}

# Requests that nginx holds for an answer, this moment.
sub in_flight {
    my ($self) = @_;
    return $self->metric('hive_requests_in_flight') + $self->metric('hive_requests_waiting');
}

# ---- processes ----

sub build { $build }
sub nginx_master { $_[0]{processes}{nginx}->pid }
sub worker_master { $_[0]{processes}{worker}->pid }
sub postmaster { $_[0]{processes}{postgres}->pid }
sub nginx_pids { Hive::Test::Process::children($_[0]->nginx_master) }
sub worker_pids { Hive::Test::Process::children($_[0]->worker_master) }

# Signals one worker process (the first, or that one) and returns its pid,
# after KILL once it is gone.
sub kill_worker {
    my ($self, $signal, $pid) = @_;
    $pid //= ($self->worker_pids)[0];
    kill $signal, $pid or croak "kill $signal $pid: $!";
    $self->wait_for(5, sub { !Hive::Test::Process::running($pid) }) if $signal eq 'KILL';
    return $pid;
}

# HUP, then waits until every process of before has gone and as many new ones
# serve. Returns whether that was so in time.
# hive-worker --load-models of that file, the catalogue of conf/ unless named:
# its exit status and what it printed.
sub load_models {
    my ($self, $file) = @_;
    $file //= "$top/conf/models.json";
    my $as = $> == 0 ? "setpriv --reuid=$Hive::Test::Process::service --clear-groups" : '';
    my $said = `cd / && $as '$self->{dir}/bin/hive-worker' -c '$self->{dir}/worker.ini' --load-models - 2>&1 <'$file'`;
    return ($? >> 8, $said);
}

sub reload_nginx { $_[0]->reload('nginx', $_[1]) }
sub reload_workers { $_[0]->reload('worker', $_[1]) }

sub reload {
    my ($self, $name, $seconds) = @_;
    my $pids = "${name}_pids";
    my %before = map { $_ => 1 } $self->$pids;
    $self->{processes}{$name}->signal('HUP') or croak "$name does not run";
    return $self->wait_for($seconds // 30, sub {
        my @now = $self->$pids;
        return @now == keys %before && !grep { $before{$_} } @now;
    });
}

# Stops Postgres as an administrator would (or KILLs it) and starts it again.
sub restart_postgres {
    my ($self, $signal) = @_;
    my $process = $self->{processes}{postgres};
    $process->signal($signal // 'INT');
    $process->wait_end(20) or croak 'Postgres does not stop';
    unlink "$self->{dir}/pg/postmaster.pid" if ($signal // '') eq 'KILL';
    $self->start_postgres;
    return;
}

sub stop_postgres {
    my ($self) = @_;
    $self->{processes}{postgres}->stop('INT', 20);
    return;
}

# Polls until the code is true; returns its last value.
sub wait_for {
    my ($self, $seconds, $code) = @_;
    my $until = time + $seconds;
    my $value;
    while (!($value = $code->()) && time < $until) {
        sleep 0.02;
    }
    return $value;
}

# ---- Postgres ----

# Runs SQL as the cluster's superuser and returns the rows, columns parted by
# '|'. Dies on an error. Many tests poll with it, and a psql takes longer to
# start than to answer: one stays, and each call gets its session as new. To
# somebody else, or elsewhere, each goes with a psql of its own.
sub psql {
    my ($self, $sql, %o) = @_;
    my $stays = !%o;
    my $psql = $stays ? $self->psql_ready : psql_start($self, %o);
    my $answered = psql_ask($psql, "set client_min_messages = warning;\n$sql\n;");
    my $text = $psql->{text};
    $self->psql_end($psql) unless $stays && $answered;
    croak "psql: $text" unless $answered;
    chomp $text;
    return $text;
}

sub psql_start {
    my ($self, %o) = @_;
    require IPC::Open3;
    delete local @ENV{ grep { /^PG/ } keys %ENV };
    my $pid = IPC::Open3::open3(my $in, my $out, undef, "$Hive::Test::Cluster::bin/psql", '-XqAt', '-v',
        'ON_ERROR_STOP=1', '-h', $self->pg_host, '-U', $o{user} // 'postgres', '-d', $o{database} // 'hive');
    $in->autoflush(1);
    return { pid => $pid, in => $in, out => $out, owner => $$ };
}

# Has it run that, and puts what it said into {text}; false when it has ended
# instead, as it does of the first error.
sub psql_ask {
    my ($psql, $sql) = @_;
    my $mark = '--answered-' . ++$serial . '--';
    local $SIG{PIPE} = 'IGNORE';
    print { $psql->{in} } "$sql\n\\echo $mark\n";
    $psql->{text} = '';
    while (sysread $psql->{out}, $psql->{text}, 65536, length $psql->{text}) {
        return 1 if $psql->{text} =~ s/(?:\A|(?<=\n))\Q$mark\E\n\z//;
    }
    return 0;
}

# The one that stays, with a session as new; another when it has lost the
# server meanwhile, or belongs to the process that this one was forked from.
sub psql_ready {
    my ($self) = @_;
    my $psql = $self->{psql};
    if ($psql && $psql->{owner} == $$) {
        return $psql if psql_ask($psql, 'discard all;');
        $self->psql_end($psql);
    }
    return $self->{psql} = psql_start($self);
}

sub psql_end {
    my ($self, $psql) = @_;
    delete $self->{psql} if $psql == ($self->{psql} // 0);
    return if $psql->{owner} != $$;
    local $SIG{PIPE} = 'IGNORE';
    local $?;
    print { $psql->{in} } "\\q\n";
    close $psql->{in};
    close $psql->{out};
    waitpid $psql->{pid}, 0;
    return;
}

# The text of a named statement of sql/queries/.
sub statement {
    my ($self, $name) = @_;
    for my $file (glob "$top/sql/queries/*.sql") {
        return $1 if slurp($file) =~ /^-- name: \Q$name\E\b[^\n]*\n((?:(?!-- name: ).*\n)*)/m;
    }
    croak "there is no statement $name in sql/queries/";
}

# ---- logs and files ----

sub log {
    my ($self, $name) = @_;
    my $path = "$self->{dir}/log/" . ($name =~ /\./ ? $name : "$name.log");
    return -e $path ? slurp($path) : '';
}

sub log_tail {
    my ($self, $name) = @_;
    my @lines = split /\n/, $self->log($name);
    splice @lines, 0, -15 if @lines > 15;
    return join '', "---- $name\n", map { substr($_, 0, 400) . "\n" } @lines;
}

# Waits until a log has a line like that.
sub wait_log {
    my ($self, $name, $pattern, $seconds) = @_;
    return $self->wait_for($seconds // 10, sub { $self->log($name) =~ $pattern });
}

sub slurp {
    my ($path) = @_;
    open my $fh, '<:raw', $path or die "$path: $!\n";
    local $/;
    return scalar(<$fh>) // '';
}

sub spew {
    my ($path, $text) = @_;
    open my $fh, '>:raw', $path or die "$path: $!\n";
    print $fh $text;
    close $fh or die "$path: $!\n";
    return;
}

sub append {
    my ($path, $text) = @_;
    open my $fh, '>>:raw', $path or die "$path: $!\n";
    print $fh $text;
    close $fh or die "$path: $!\n";
    return;
}

sub free_port {
    my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die "no port: $@\n";
    return $socket->sockport;
}

1;
