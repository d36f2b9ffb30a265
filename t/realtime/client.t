# client.t: web/hive-client.js keeps its promise, by itself (a clock and a
# server made up), in Node against a Hive that is killed and reloaded, and in
# a browser; and web/asyncapi.json names all that is said.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use File::Temp ();
use IPC::Open3 qw(open3);
use Mojo::JSON qw(decode_json encode_json);
use Test::More;
use Time::HiRes qw(sleep time);

my $top = $Hive::Test::top;
my $client = "$top/t/lib/client";

# A program of TAP, as a subtest.
sub tap {
    my ($program, $name) = @_;
    subtest $name => sub {
        open my $out, '-|', 'timeout', '-k', '5', '120', 'node', "$client/$program" or die "node: $!\n";
        my ($plan, $seen, @lines) = (-1, 0);
        while (my $line = <$out>) {
            chomp $line;
            if ($line =~ /^(not )?ok \d+ - (.*)/) {
                $seen++;
                ok !$1, $2;
            }
            elsif ($line =~ /^1\.\.(\d+)$/) { $plan = $1 }
            else { diag $line }
        }
        close $out;
        is $? >> 8, 0, "$program ends well";
        is $seen, $plan, 'all of it';
    };
    return;
}

# ---- by itself ----

tap('order.mjs', 'every event once and in order');
tap('connection.mjs', 'it stays connected');
tap('asyncapi.mjs', 'asyncapi.json holds together');

# ---- what is said ----

# The names in the first column of the tables of README's chapter: `a.b`,
# `c` is a.b and a.c; a table's head says who sends them.
sub readme {
    my ($text) = Hive::Test::slurp("$top/README.md") =~ /^## Realtime\n(.*?)^## /ms;
    my (%types, $from);
    for (split /\n/, $text // '') {
        if (/^\| (client|server|event)\b/) { $from = $1 eq 'client' ? 'client' : 'server' }
        elsif (!/^\|/) { undef $from }
        elsif ($from && /^\| (`[^|]*)/) {
            my $group;
            for my $name ($1 =~ /`([^`]+)`/g) {
                $group = $1 if $name =~ /^(\w+)\./;
                $types{ "$from." . ($group && $name !~ /\./ ? "$group.$name" : $name) } = 1;
            }
        }
    }
    return \%types;
}

# What the code sends and takes, as far as it stands there as text.
sub code {
    my %types;
    for my $file (glob "$top/ngx_module/*.c") {
        my $text = Hive::Test::slurp($file);
        $types{"server.$1"} = 1 while $text =~ /(?:"type",\s*"|\\"type\\":\\")([a-z_.]+)\\?"/g;
        $types{"client.$1"} = 1 while $text =~ /\{ "(\w+)", ngx_http_hive_on_\w+ \}/g;
    }
    for my $file (glob("$top/sql/queries/*.sql"), glob("$top/workers/*/*.c")) {
        my $text = Hive::Test::slurp($file);
        $types{"server.$1"} = 1
            while $text =~ /(?:'|SLICE\(")((?:project|task|run|schedule|workflow|user|presence|message|swarm|agent|step)\.[a-z_]{3,})(?:'|"\))/g;
    }
    # what templates quote, and the name of a part
    delete $types{"server.$_"} for 'run.name', 'schedule.name', 'schedule.time', 'task.input';
    return \%types;
}

subtest 'asyncapi.json names all that is said' => sub {
    my $document = decode_json(Hive::Test::slurp("$top/web/asyncapi.json"));
    my %there = map { $_ => 1 } keys %{ $document->{components}{messages} };
    delete @there{'server.batch', 'server.any'};    # without a type, and of any
    my $readme = readme();
    is_deeply [grep { !$there{$_} } sort keys %$readme], [], 'all of README';
    is_deeply [grep { !$readme->{$_} } sort keys %there], [], 'and README all of it';
    my $code = code();
    cmp_ok scalar(keys %$code), '>', 30, 'the code was read';
    is_deeply [grep { !$there{$_} } sort keys %$code], [], 'all of the code';
};

# ---- against a Hive ----

# t/realtime's pages are looked at under /t/; the picture takes its time.
my $picture = 'x' x 3000;
my $hive = Hive::Test->start(workers => 2, nginx_workers => 2, server => <<"END");
        location ^~ /t/ {
            types { text/html html; text/javascript js; }
            charset utf-8;
            add_header Content-Security-Policy "default-src 'none'; script-src 'self'; img-src 'self'; connect-src 'self'";
        }
        location = /t/hold.svg {
            types { }
            default_type image/svg+xml;
            limit_rate 50;
            return 200 "<svg xmlns='http://www.w3.org/2000/svg'><!-- $picture --></svg>";
        }
END
my $ada = $hive->register;

# A node that runs live.mjs: { pid, in, out, text }.
my %nodes;

sub node {
    my ($channel, $options) = @_;
    my $errors = File::Temp->new;
    my $pid = open3(my $in, my $out, '>&' . fileno $errors, 'timeout', '-k', '5', '150', 'node', "$client/live.mjs", $hive->url,
        $ada->{token}, $channel, encode_json($options // {}));
    $in->autoflush(1);
    my $self = { pid => $pid, in => $in, out => $out, text => '', errors => $errors };
    $nodes{$pid} = $self;
    return $self;
}

# Its next line; undef when there is none in that time.
sub answer {
    my ($node, $seconds) = @_;
    my $until = time + ($seconds // 20);
    until ($node->{text} =~ /\n/) {
        vec(my $set = '', fileno $node->{out}, 1) = 1;
        my $left = $until - time;
        if ($left <= 0 || !select($set, undef, undef, $left) || !sysread $node->{out}, $node->{text}, 65536, length $node->{text}) {
            diag 'node: ' . Hive::Test::slurp($node->{errors}->filename);
            return undef;
        }
    }
    $node->{text} =~ s/^(.*)\n//;
    return decode_json($1);
}

sub ask {
    my ($node, $message, $seconds) = @_;
    local $SIG{PIPE} = 'IGNORE';
    print { $node->{in} } encode_json($message) . "\n";
    return answer($node, $seconds);
}

sub quit {
    my ($node) = @_;
    local $SIG{PIPE} = 'IGNORE';
    print { $node->{in} } encode_json({ quit => 1 }) . "\n";
    my $ended = $hive->wait_for(10, sub { waitpid($node->{pid}, 1) == $node->{pid} });
    my $status = $?;
    ok $ended && $status == 0, 'it ends';
    return unless $ended;
    delete $nodes{ $node->{pid} };
    return;
}

END { local $?; kill TERM => keys %nodes }

sub project {
    my ($name) = @_;
    my $res = $hive->post('/api/v1/projects', $ada, { name => $name });
    is $res->code, 201, "a project: $name" or die $res->body;
    return $res->json->{id};
}

# A change that arrives, however often it has to be sent.
my $change = 0;

sub change {
    my ($id) = @_;
    my $name = 'change ' . ++$change;
    return $hive->wait_for(20, sub { ($hive->patch("/api/v1/projects/$id", $ada, { name => $name })->code // 0) == 200 });
}

sub head { $hive->psql("select event_seq from cell0.projects where id = '$_[0]'") }

# What it has seen must be every offset after that, once, in order.
sub complete {
    my ($seen, $after, $head, $name) = @_;
    my ($next, @wrong) = ($after + 1);
    for my $event (@{ $seen->{events} }) {
        push @wrong, "$event->{first}..$event->{last} where $next is next" if $event->{first} != $next;
        $next = $event->{last} + 1;
    }
    is_deeply \@wrong, [], "$name: every offset once, in order";
    is $next - 1, $head, "$name: up to the last";
    is_deeply $seen->{gaps}, [], "$name: none was lost";
    is $seen->{counters}{duplicates}, 0, "$name: none came twice";
    is_deeply $seen->{wrong}, [], "$name: every message is as asyncapi.json says";
    return;
}

subtest 'a project that changes' => sub {
    my $id = project('quiet');
    my $node = node("project:$id");
    is_deeply answer($node), { ready => 1 }, 'begins at its head';
    change($id) for 1 .. 20;
    my $seen = ask($node, { until => 21 });
    complete($seen, 1, 21, 'twenty changes');
    is $seen->{events}[0]{type}, 'project.updated', 'by their type';
    is_deeply $seen->{states}, ['connecting', 'open'], 'on one connection';

    my $state = ask($node, { call => 'stateSync', args => ["project:$id"] });
    is $state->{data}{name}, $hive->get("/api/v1/projects/$id", $ada)->json->{name}, 'state_sync gives the object';
    is $state->{offset}, 21, 'and where it stands';
    my $stats = ask($node, { call => 'stats', args => [] });
    is_deeply [map { [@$_{qw(channel offset)}] } @{ $stats->{subscriptions} }], [["project:$id", 21]], 'get_stats';
    my $presence = ask($node, { call => 'presence', args => ["project:$id"] });
    is $presence->{channel}, "project:$id", 'presence';
    cmp_ok ask($node, { call => 'ping', args => [] }), '<', 5000, 'ping';
    is ask($node, { call => 'presence', args => ['project:00000000-0000-7000-8000-000000000000'] })->{failed}, 'not_allowed',
        'what is not there is refused';
    quit($node);

    my $hasty = node("project:$id", { syncAtOnce => \1 });
    is_deeply { map { %{ answer($hasty) // {} } } 1 .. 2 }, { state => 21, ready => 21 }, 'state_sync in the place of a subscription that has no answer yet: both are answered';
    quit($hasty);

    my $later = node("project:$id", { batchMs => 100 });
    is_deeply answer($later), { ready => 21 }, 'another, with batches';
    change($id) for 1 .. 20;
    complete(ask($later, { until => 41 }), 21, 41, 'batches');
    quit($later);
};

# Everything that has a channel does what it can, and whatever is said of it is
# as asyncapi.json has it.
subtest 'every kind of channel' => sub {
    my $made = sub {
        my ($path, $body) = @_;
        my $res = $hive->post("/api/v1/$path", $ada, $body);
        like $res->code, qr/^20\d$/, "POST $path" or die $res->body;
        return $res->json;
    };
    my $seen = sub {
        my ($node, $offset, @types) = @_;
        my $said = ask($node, { until => $offset }, 30);
        is_deeply $said->{wrong}, [], 'every message is as asyncapi.json says';
        my %there = map { $_->{type} => 1 } @{ $said->{events} };
        ok $there{$_}, $_ for @types;
        return $said;
    };

    my $task = $made->(tasks => { kind => 'sleep', input => { ms => 50 }, paused => \1 })->{id};
    my $node = node("task:$task");
    my $begin = answer($node)->{ready};
    is ask($node, { call => 'stateSync', args => ["task:$task"] })->{data}{state}, 'paused', 'a task';
    is $hive->patch("/api/v1/tasks/$task", $ada, { title => 'x' })->code, 200, 'is changed';
    $made->("tasks/$task/resume");
    $seen->($node, $begin + 4, qw(task.updated task.resumed task.running task.succeeded));
    is $hive->delete("/api/v1/tasks/$task", $ada)->code, 204, 'and removed';
    is $seen->($node, $begin + 99, 'task.deleted')->{ended}, 'access_withdrawn', 'which ends the subscription';
    quit($node);

    my $workflow = $made->(workflows => { name => 'w', steps => [map { { name => "s$_", kind => 'sleep', input => { ms => 1000 * $_ } } } 1 .. 3] })->{id};
    $node = node("workflow:$workflow");
    $begin = answer($node)->{ready};
    is $hive->patch("/api/v1/workflows/$workflow", $ada, { name => 'v' })->code, 200, 'a definition is changed';
    $seen->($node, $begin + 1, 'workflow.updated');
    my $run = $made->("workflows/$workflow/runs", {})->{id};
    my $runs = node("workflow:$run");
    ok defined answer($runs)->{ready}, 'a run';
    ok $hive->wait_for(20, sub { $hive->get("/api/v1/runs/$run", $ada)->json->{state} eq 'succeeded' }), 'has ended';
    my $head = $hive->psql("select event_seq from cell0.runs where id = '$run'") + 0;
    $seen->($runs, $head, 'run.progress', 'run.succeeded');
    is ask($runs, { call => 'stateSync', args => ["workflow:$run"] })->{data}{state}, 'succeeded', 'as its state says';
    is_deeply ask($runs, { until => 0 })->{wrong}, [], 'in due form';
    quit($_) for $node, $runs;

    my $schedule = $made->(schedules => { name => 's', cron => '0 0 1 1 *', task => { kind => 'noop' } })->{id};
    $node = node("schedule:$schedule");
    $begin = answer($node)->{ready};
    $made->("schedules/$schedule/$_") for qw(pause resume fire);
    is $hive->patch("/api/v1/schedules/$schedule", $ada, { name => 't' })->code, 200, 'a schedule is changed';
    is ask($node, { call => 'stateSync', args => ["schedule:$schedule"] })->{data}{name}, 't', 'its state';
    is $hive->delete("/api/v1/schedules/$schedule", $ada)->code, 204, 'and removed';
    $seen->($node, $begin + 99, map { "schedule.$_" } qw(paused resumed fired updated deleted));
    quit($node);

    my $user = node("user:$ada->{id}");
    $begin = answer($user)->{ready};
    my $other = node('system');
    ok defined answer($other)->{ready}, 'system';
    $hive->login({ %$ada });
    $seen->($user, $begin + 1, 'user.signed_in');
    my $admin = $hive->register;
    $hive->psql("update hive.users set is_superuser = true where id = '$admin->{id}'");
    $hive->login($admin);
    my $res = $hive->post('/api/v1/websocket/send', $admin, { user_id => $ada->{id}, type => 'notice.hello', data => { n => 1 } });
    is $res->code, 202, 'an administrator sends something' or diag $res->body;
    my $said;
    ok $hive->wait_for(10, sub { $said = ask($other, { until => 0 }); @{ $said->{own} } }), 'which arrives without a subscription';
    is_deeply $said->{own}, [{ type => 'notice.hello', data => { n => 1 } }], 'as it was sent';
    is_deeply $said->{wrong}, [], 'in due form';
    quit($_) for $user, $other;

    my $id = project('company');
    my $watcher = node("project:$id", { subscribe => { presence => \1 } });
    ok defined answer($watcher)->{ready}, 'one who wants to know who is there';
    my $ping = sub { ask($watcher, { call => 'presence', args => ["project:$id"] })->{users} };
    my $users;
    ok $hive->wait_for(10, sub { $users = $ping->(); @$users }), 'is told';
    is_deeply $users, [{ user_id => $ada->{id}, connections => 1 }], 'of themself';
    is_deeply ask($watcher, { until => 0 })->{wrong}, [], 'in due form';
    quit($watcher);
};

subtest 'while nginx and workers are killed and reloaded' => sub {
    my $id = project('rough');
    my @nodes = (node("project:$id"), node("project:$id", { batchMs => 20 }), node("project:$id"));
    is_deeply answer($_), { ready => 1 }, 'begins' for @nodes;

    my @faults = (
        ['nginx is reloaded' => sub { $hive->reload_nginx(30) }],
        ['an nginx worker is killed' => sub { kill KILL => ($hive->nginx_pids)[0] }],
        ['a worker process is killed' => sub { $hive->kill_worker('KILL') }],
        ['all nginx workers are killed' => sub { kill KILL => $hive->nginx_pids }],
        ['workers are reloaded' => sub { $hive->reload_workers(30) }],
        ['nginx is reloaded twice' => sub { $hive->reload_nginx(30) && $hive->reload_nginx(30) }],
    );
    for my $fault (@faults) {
        my ($name, $do) = @$fault;
        ok change($id), "$name: before" for 1 .. 5;
        ok $do->(), $name;
        ok change($id), "$name: after" for 1 .. 5;
        ok $hive->wait_up(30), "$name: all serve again";
        # Between faults they catch up at times, and at times do not.
        if ($name =~ /killed/) {
            ok ask($_, { until => head($id) + 0 }, 30), "$name: it has caught up" for @nodes;
        }
    }
    change($id);
    my $head = head($id);
    for my $i (0 .. $#nodes) {
        my $seen = ask($nodes[$i], { until => $head + 0 }, 30);
        ok $seen, "client $i has seen the last" or next;
        complete($seen, 1, $head, "client $i");
        cmp_ok $seen->{counters}{reconnects}, '>=', 3, "client $i: over several connections";
        quit($nodes[$i]);
    }
};

# ---- in a browser ----

subtest 'in a browser' => sub {
    my $id = project('page');
    mkdir $hive->dir . '/web/t' or die "mkdir: $!\n";
    for my $file (qw(page.html page.js)) {
        Hive::Test::spew($hive->dir . "/web/t/$file", Hive::Test::slurp("$client/$file"));
    }
    my $profile = $hive->dir . '/chromium';
    mkdir $profile or die "mkdir: $!\n";
    my $log = "$profile/log";
    local $ENV{HOME} = $profile;
    my $url = $hive->url("/t/page.html#token=$ada->{token}&project=$id");
    open my $out, '-|', 'timeout', '-k', '5', '90', 'sh', '-c', 'exec "$@" 2>"$0"', $log,
        'chromium', qw(--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run),
        "--user-data-dir=$profile/data", '--dump-dom', $url or die "chromium: $!\n";
    my $dom = do { local $/; <$out> } // '';
    close $out;
    my ($text) = $dom =~ /<pre id="seen">(.*?)<\/pre>/s;
    my %entity = (amp => '&', lt => '<', gt => '>', quot => '"');
    ($text //= '') =~ s/&(\w+);/$entity{$1}/g;
    my $seen = eval { decode_json($text) };
    ok ref $seen, 'the page has written what it saw'
        or diag substr($dom, 0, 1000), -e $log ? substr(Hive::Test::slurp($log), 0, 2000) : 'no log', $hive->log_tail('nginx');
    is $seen->{failed}, undef, 'nothing has failed';
    is_deeply [map { $_->{offset} } @{ $seen->{events} }], [2, 3], 'both events, in order';
    is $seen->{events}[0]{type}, 'project.updated', 'by their type';
    is $seen->{state}{data}{name}, 'and again', 'the state';
    is_deeply $seen->{states}, ['connecting', 'open', 'closed'], 'on one connection';
};

$hive->stop;
done_testing;
