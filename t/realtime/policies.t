# policies.t: what the directives choose: refusing with a close, dropping what
# a slow reader does not take, TLS, HTTP/2; and streams of events in a reload

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use File::Temp ();
use Hive::Test;
use Hive::Test::Publisher;
use Hive::WebSocket qw(frame handshake);
use Test::More;
use Time::HiRes qw(sleep time);

my $dir = File::Temp->newdir;
chmod 0755, "$dir";
system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -keyout '$dir/key' -out '$dir/cert' 2>/dev/null") == 0
    or BAIL_OUT('openssl makes no certificate');
my $tls = Hive::Test::free_port();

my $hive = Hive::Test->start(workers => 1, nginx_workers => 1, http => join "\n",
    'hive_websocket_refuse close;', 'hive_live_slow snapshot;', 'hive_live_queue 64k;', 'hive_websocket_drain 1s;',
    "server { listen 127.0.0.1:$tls ssl http2; ssl_certificate $dir/cert; ssl_certificate_key $dir/key; location / { hive on; } }");
my $ada = $hive->register;
my $res = $hive->post('/api/v1/projects', $ada, { name => 'Live' });
my $project = $res->json->{id};
my $channel = "project:$project";
my $publisher = Hive::Test::Publisher->new($hive, $channel);

sub change { $hive->patch("/api/v1/projects/$project", $ada, { description => 'change ' . rand }) }
sub metric { my ($name) = @_; return $hive->get('/metrics')->body =~ /^hive_$name (\d+)/m ? $1 : undef }

# What a program says within so many seconds.
sub said { my ($seconds, $command) = @_; return scalar `timeout $seconds sh -c "$command" 2>/dev/null` }

subtest 'refused with a close' => sub {
    for (['nobody', undef, 'token_missing'], ['a token that is none', 'Authorization: Bearer a.b.c', 'token_invalid']) {
        my $ws = Hive::WebSocket->connect(port => $hive->port, path => '/ws', headers => [$_->[1] // ()]);
        is_deeply $ws->recv(5), { close => 1008, reason => $_->[2] }, "$_->[0]: $_->[2]";
    }
    my $ws = Hive::WebSocket->connect(port => $hive->port, path => '/ws/none');
    is_deeply $ws->recv(5), { close => 1008, reason => 'ticket_invalid' }, 'a ticket that never was';
};

subtest 'what a slow reader does not take is dropped' => sub {
    my $ws = Hive::WebSocket->connect(port => $hive->port, path => '/ws', headers => ["Authorization: Bearer $ada->{token}"]);
    $ws->recv(5);
    $ws->send_json({ type => 'subscribe', channel => $channel });
    $ws->recv(5);
    my $before = metric('live_slow_total');
    $publisher->say('x' x 20_000) for 1 .. 600;
    ok $hive->wait_for(10, sub { metric('live_slow_total') > $before }), 'it is found';
    my ($dropped, $events) = (undef, 0);
    while (my $m = $ws->recv(2)) {
        $events++ if $m->{type} eq 'bench.event';
        $dropped = $m if $m->{type} eq 'dropped';
    }
    is $dropped->{channel}, $channel, 'it is told of which channel';
    cmp_ok $events, '<', 600, "and has not got all ($events)";
    $ws->send_json({ type => 'state_sync', channel => $channel, id => 1 });
    is $ws->recv_until(5, sub { $_[0]{id} })->{type}, 'state', 'it looks anew';
    change();
    is $ws->recv(5)->{type}, 'project.updated', 'and goes on';
};

subtest 'TLS' => sub {
    my $file = "$dir/talk";
    open my $fh, '>:raw', $file or die;
    print $fh handshake(path => '/ws', headers => ["Authorization: Bearer $ada->{token}"]), frame(text => qq({"type":"subscribe","channel":"$channel"}));
    close $fh;
    my $pid = fork // die;
    if (!$pid) { sleep 1.2; change(); require POSIX; POSIX::_exit(0) }
    my $out = said(2.5, "(cat '$file'; sleep 2) | openssl s_client -quiet -alpn http/1.1 -connect 127.0.0.1:$tls");
    waitpid $pid, 0;
    like $out, qr{HTTP/1\.1 101}, 'a WebSocket';
    like $out, qr/subscription_confirmed/, 'what was said in one write with the request is answered';
    like $out, qr/project\.updated/, 'events';
};

subtest 'HTTP/2' => sub {
    my $pid = fork // die;
    if (!$pid) { sleep 1.2; change(); require POSIX; POSIX::_exit(0) }
    my $out = said(2.5, "exec curl -skN -m 5 --http2 -D - -H 'Authorization: Bearer $ada->{token}' 'https://127.0.0.1:$tls/api/v1/events?channels=$channel'");
    waitpid $pid, 0;
    like $out, qr{^HTTP/2 200}, 'a stream of events';
    like $out, qr/event: subscription_confirmed/, 'confirmed';
    like $out, qr/event: project\.updated/, 'events';
    is `curl -sk -m 5 --http2 -o /dev/null -w '%{http_code}' -H 'Authorization: Bearer $ada->{token}' https://127.0.0.1:$tls/ws`, 426, 'no WebSocket';
};

subtest 'a slow reader of server-sent events' => sub {
    my $socket = $hive->connect;
    $socket->syswrite("GET /api/v1/events?channels=$channel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $ada->{token}\r\n\r\n");
    ok $hive->wait_for(5, sub { metric('sse_connections') == 1 }), 'connected';
    sleep 0.3;
    my $before = metric('live_slow_total');
    $publisher->say('x' x 20_000) for 1 .. 600;
    ok $hive->wait_for(10, sub { metric('live_slow_total') > $before }), 'is found';
    ok $hive->wait_for(10, sub { metric('sse_connections') == 0 }), 'and ended: it comes back by the id it has';
    is metric('live_queued_bytes'), 0, 'nothing waits any more';
};

subtest 'a reload' => sub {
    my $socket = $hive->connect;
    $socket->syswrite("GET /api/v1/events?channels=$channel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $ada->{token}\r\n\r\n");
    my $ws = Hive::WebSocket->connect(port => $hive->port, path => '/ws', headers => ["Authorization: Bearer $ada->{token}"]);
    $ws->recv(5);
    ok $hive->wait_for(5, sub { metric('sse_connections') == 1 }), 'connected';
    ok $hive->reload_nginx(10), 'the old process goes';
    is_deeply $ws->recv(5), { close => 1001, reason => 'reload' }, 'the WebSocket was closed';
    my $all = '';
    1 while sysread $socket, $all, 65536, length $all;
    like $all, qr/\r\n0\r\n\r\n\z/, 'the stream of events was ended in order';
};

$publisher->end;
$hive->stop;
done_testing;
