# realtime.pl: from a commit to the clients that watch.

use strict;
use warnings;
use Bench;
use File::Temp ();
use Hive::Live;
use Hive::Test;
use JSON::PP ();
use List::Util qw(min max);
use Time::HiRes qw(sleep time);

my $kit = '/tmp/hive-bench/ws';
my $source = "$Bench::dir/../../../shared/peers/ws";
my ($hive, $live);

sub available { -d $source }

# wsfan, and nginx with nchan, of ../shared/peers/ws.
sub prepare {
    system('mkdir', '-p', $kit) == 0 or die;
    system("cp '$source'/wsfan.c '$source'/nginx-nchan.conf '$kit/'") == 0 or die;
    system("dpkg-query -W -f='\${Status}' libnginx-mod-nchan 2>/dev/null | grep -q 'ok installed'") == 0
        or system('DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libnginx-mod-nchan >/dev/null 2>&1') == 0
        or die "cannot install libnginx-mod-nchan\n";
    system("cc -O2 -o '$kit/wsfan' '$kit/wsfan.c' -lz") == 0 or die "wsfan does not compile\n";
}

my $nchan_master;
sub stop_nchan {
    kill TERM => $nchan_master if $nchan_master;
    undef $nchan_master;
}
END { stop_nchan() }

sub start_nchan {
    system('mkdir', '-p', '/tmp/hive-peers/nchan/logs', '/tmp/hive-peers/nchan/tmp') == 0 or die;
    system("nginx -p /tmp/hive-peers/nchan -c '$kit/nginx-nchan.conf' 2>/dev/null") == 0 or die "nchan does not start\n";
    sleep 0.7;
    open my $fh, '<', '/tmp/hive-peers/nchan/nginx.pid' or die;
    chomp($nchan_master = <$fh>);
    return (Hive::Test::Process::children($nchan_master))[0];
}

# A publisher in the place of a worker that nobody uses, at the end of a pipe.
my ($publisher, $pipe);
sub start_publisher {
    my $fifo = Bench::scratch('publish.' . int rand 1e9);
    system('mkfifo', $fifo) == 0 or die;
    $publisher = fork // die;
    if (!$publisher) {
        open STDIN, '<', $fifo or die;
        exec $hive->build . '/t/hub_publish', '-o', 2, 'ipc://' . $hive->dir . '/run/worker.0b.events', channel();
    }
    open $pipe, '>', $fifo or die;      # open for as long as it is to live
    sleep 2;
    return $fifo;
}

sub stop_publisher {
    return unless $publisher;
    close $pipe;
    waitpid $publisher, 0;
    undef $publisher;
}

my $fifo;
sub start_hive {
    stop_publisher();
    $hive->stop if $hive;
    $hive = Hive::Test->start(bench => 1, nginx_workers => 1, worker_connections => 24_000,
        postgres_settings => 'track_commit_timestamp = on',
        http => "hive_live_connections 60000;\nhive_live_queue 1m;\nhive_websocket_ping 60s 30s;");
    $live = Hive::Live->new($hive, channels => 1);
    $fifo = start_publisher();
}

sub channel { "project:$live->{projects}[0]" }

# One run of wsfan; its report.
sub wsfan_hive {
    my (%o) = @_;
    my @cmd = ('timeout', 120, "$kit/wsfan", '-g', 'hive', '-u', 'ws://127.0.0.1:' . $hive->port . '/ws',
        '-H', "Authorization: Bearer $live->{user}{token}",
        '-s', '{"type":"subscribe","channel":"' . channel() . '"}', '-r', 'subscription_confirmed',
        '-n', $o{n} // 500, '-y', ($hive->nginx_pids)[0], @{ $o{args} // [] });
    push @cmd, '-p', "cmd:(echo \@again; cat) >$fifo", '-k', $o{count}, '-b', $o{size} // 100 if $o{count};
    return report(@cmd);
}

sub wsfan_nchan {
    my ($worker, %o) = @_;
    my @cmd = ('timeout', 120, "$kit/wsfan", '-g', 'nchan', '-u', 'ws://127.0.0.1:9180/sub/b0', '-n', $o{n} // 500,
        '-y', $worker, @{ $o{args} // [] });
    push @cmd, '-p', $o{burst} ? 'ws://127.0.0.1:9180/pub/b0' : 'http://127.0.0.1:9180/pub/b0',
        '-k', $o{count}, '-b', $o{size} // 100 if $o{count};
    return report(@cmd);
}

sub report {
    my $out = Bench::run_command(@_);
    my ($json) = $out =~ /(\{.*\})/s or die "wsfan said: $out\n";
    return JSON::PP::decode_json($json);
}

sub per_delivery { $_[0]{server_us_per_delivery} }

# The nginx worker's own memory now, in kB.
sub rss {
    open my $fh, '<', "/proc/$_[0]/status" or die;
    while (defined(my $line = <$fh>)) { return $1 if $line =~ /^VmRSS:\s+(\d+)/ }
}

# From a commit (the time Postgres gives its record, before that is flushed) to
# the event having come, in ms, for one of 500; and from the PATCH being sent.
sub commit_to_client {
    my ($changes, $pause) = @_;
    require Hive::WebSocket;
    # in the middle of all those that an event goes to one after another
    my @rest = ($live->watch(connections => 250));
    $rest[0]->complete(30) or die "the subscribers do not connect\n";
    my $ws = Hive::WebSocket->connect(port => $hive->port, path => '/ws',
        headers => ["Authorization: Bearer $live->{user}{token}"]);
    $ws->recv(5);
    $ws->send_json({ type => 'subscribe', channel => channel() });
    $ws->recv(5)->{type} eq 'subscription_confirmed' or die 'not confirmed';
    push @rest, $live->watch(connections => 249);
    $rest[1]->complete(30) or die "the subscribers do not connect\n";
    my (@took, %came);
    my $http = $hive->connect;
    for my $i (1 .. $changes) {
        my $body = qq({"description":"change $i"});
        my $bytes = "PATCH /api/v1/projects/$live->{projects}[0] HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $live->{user}{token}\r\n"
            . "Content-Type: application/json\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
        my $sent = time;
        $http->syswrite($bytes);
        my $event = $ws->recv(5);
        my $now = time;
        die "not the event: $event->{type}\n" unless ($event->{type} // '') eq 'project.updated';
        push @took, 1000 * ($now - $sent);
        $came{ $event->{offset} } = $now;
        my $all = '';
        $http->sysread($all, 65536, length $all) or die "no answer\n" until $all =~ /\r\n\r\n.*\}/s;
        sleep $pause;
    }
    $_->finish for @rest;
    my %committed = $hive->psql(q{select "offset" || ' ' || extract(epoch from pg_xact_commit_timestamp(xmin)) from cell0.events where channel = '}
        . channel() . q{'}) =~ /^(\d+) ([\d.]+)$/mg;
    my @since = map { 1000 * ($came{$_} - ($committed{$_} // die "no commit of $_\n")) } keys %came;
    return map { my @sorted = sort { $a <=> $b } @$_; ($sorted[$#sorted / 2], $sorted[0.99 * $#sorted]) } \@since, \@took;
}

return sub {
    my ($o) = @_;
    my $want = sub { !$o->{only} || $_[0] =~ /$o->{only}/ };
    die "realtime: there is no $source\n" unless available();
    prepare();

    Bench::heading('realtime: 500 subscribers of one channel, one nginx worker, events of 100 bytes');
    start_hive();
    my $nchan = start_nchan();

    if ($want->('fan-out')) {
        # the least of three looks, in turn
        my (%burst, %paced);
        for (1 .. 3) {
            push @{ $burst{hive} }, wsfan_hive(count => 4000, args => ['-w', 16]);
            push @{ $burst{nchan} }, wsfan_nchan($nchan, count => 4000, burst => 1, args => ['-w', 16]);
            push @{ $paced{hive} }, wsfan_hive(count => 200, args => ['-R', 20]);
            push @{ $paced{nchan} }, wsfan_nchan($nchan, count => 200, args => ['-R', 20]);
        }
        for my $row (['burst', \%burst, 1.2], ['paced', \%paced, 4]) {
            my ($name, $looks, $bar) = @$row;
            my %least = map { $_ => min(map { per_delivery($_) } @{ $looks->{$_} }) } qw(hive nchan);
            my $lost = 0; $lost += $_->{undelivered} for @{ $looks->{hive} };
            Bench::row("fan-out $name, CPU of nginx a delivery", $least{hive}, 'us', $bar, 'max',
                sprintf('least of 3; %s deliveries/s; %d undelivered', join(' ', map { int $_->{delivered_per_s} } @{ $looks->{hive} }), $lost));
            Bench::row("fan-out $name / nchan", $least{hive} / $least{nchan}, 'ratio', 1, 'max', sprintf('nchan %.2f us', $least{nchan}));
        }
    }
    stop_nchan();

    if ($want->('commit')) {
        my @looks = map { [commit_to_client(200, 0.02)] } 1 .. 3;
        my @least = map { my $i = $_; min(map { $_->[$i] } @looks) } 0 .. 3;
        Bench::row('commit to client, p50', $least[0], 'ms', 3, 'max', sprintf '500 subscribers, least of 3; from the PATCH being sent %.2f', $least[2]);
        Bench::row('commit to client, p99', $least[1], 'ms', 15, 'max', sprintf 'from the PATCH being sent %.2f', $least[3]);
    }

    if ($want->('slow')) {
        # What an event costs by itself is shared by those that get it, seven
        # once the stuck ones are gone: what seven alone cost stands beside.
        my %looks;
        for (1 .. 3) {
            for my $kind ([stuck => 10, 3], [seven => 7, 0], [ten => 10, 0]) {
                my ($name, $n, $stuck) = @$kind;
                start_hive();      # offsets begin anew
                my $before = rss(($hive->nginx_pids)[0]);
                my $r = wsfan_hive(n => $n, count => 10_000, size => 1000, args => ['-R', 1000, '-K', $stuck]);
                push @{ $looks{$name} }, { p99 => $r->{lat_ms}{p99}, cpu => per_delivery($r), grown => (rss(($hive->nginx_pids)[0]) - $before) / 1024 };
            }
        }
        my $least = sub { my ($what, $name) = @_; min(map { $_->{$what} } @{ $looks{$name} }) };
        my $note = sub { my ($what) = @_; sprintf 'least of 3: %.2f; 10 readers %.2f, 7 readers %.2f', map { $least->($what, $_) } qw(stuck ten seven) };
        Bench::row('3 of 10 stuck: p99 of the others / none stuck', $least->(p99 => 'stuck') / $least->(p99 => 'ten'), 'ratio', 1.3, 'max', $note->('p99'));
        Bench::row('3 of 10 stuck: CPU a delivery / none stuck', $least->(cpu => 'stuck') / $least->(cpu => 'ten'), 'ratio', 1.3, 'max', $note->('cpu'));
        Bench::row('3 of 10 stuck: memory of nginx grown by', max(map { $_->{grown} } @{ $looks{stuck} }), 'MB', 4, 'max', 'most of 3; bound: 3 queues of 1 MB');
    }

    if ($want->('idle|memory')) {
        start_hive();
        my $pid = ($hive->nginx_pids)[0];
        my $before = rss($pid);
        my $watch = $live->watch(connections => 10_000);
        $watch->complete(60) or die "10,000 connections do not come about\n";
        sleep 2;
        my $each = (rss($pid) - $before) / 10_000;
        Bench::row('memory of an idle connection, 10,000 of them', $each, 'kB', 8, 'max', 'RSS of the nginx worker; each with a subscription');
        my $began = time;
        $hive->reload_nginx;
        $watch->complete(30);
        my $took = time - $began;
        my $end = $watch->finish;
        Bench::row('reload: closed with 1001', 100 * ($end->{closes}{1001} // 0) / 10_000, '%', 100, 'min', join(' ', map { "$_: $end->{closes}{$_}" } sort keys %{ $end->{closes} }));
        Bench::row('reload: resumed', 100 * ($end->{complete} ? 1 : 0), '%', 100, 'min', sprintf('%d not recovered, all back after %.1f s (5 s of jitter)', $end->{unrecovered}, $took));
    }
    stop_publisher();
    $hive->stop;
};
