# health.t: /health says that nginx lives; /health/ready says whether a
# request could be served, and why not; /metrics counts.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Test::More;

my $hive = Hive::Test->start(workers => 2);

subtest 'live' => sub {
    my $res = $hive->get('/health');
    is $res->code, 200, 'status';
    like $res->headers->content_type, qr{^application/json}, 'type';
    is $res->json->{status}, 'ok', 'says ok';
    like $res->headers->header('X-Request-Id'), qr/^[0-9a-f]{32}$/, 'a request id';
    isnt $hive->get('/health')->headers->header('X-Request-Id'), $res->headers->header('X-Request-Id'), 'of its own';
    is $hive->head('/health')->code, 200, 'HEAD';
};

subtest 'ready' => sub {
    my $res = $hive->get('/health/ready');
    is $res->code, 200, 'status';
    like $res->headers->content_type, qr{^application/json}, 'type';
    unlike $res->body, qr/password|conninfo|secret/i, 'tells no secrets';
};

subtest 'metrics' => sub {
    my $res = $hive->get('/metrics');
    is $res->code, 200, 'status';
    like $res->headers->content_type, qr{^text/plain}, 'Prometheus text';
    my @samples = grep { length && !/^#/ } split /\n/, $res->body;
    ok @samples > 10, 'has samples';
    is_deeply [grep { !/^[a-zA-Z_:][a-zA-Z0-9_:]*(?:\{(?:[a-zA-Z_]\w*="(?:[^"\\]|\\.)*",?)*\})? -?(?:[0-9.eE+-]+|\+Inf|NaN)$/ } @samples],
        [], 'every sample is well-formed';
    my %typed = map { /^# TYPE (\S+)/ ? ($1 => 1) : () } split /\n/, $res->body;
    is_deeply [grep { (my $name = $_) =~ s/[{ ].*//; !$typed{$name} && !$typed{ $name =~ s/_(?:bucket|sum|count|total)$//r } } @samples],
        [], 'every sample has a type';
    unlike $res->body, qr/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}/, 'no id is a label';
};

subtest 'counts' => sub {
    my $user = $hive->register;
    my $count = sub { $hive->metric('hive_requests_total', qr/operation="auth_me"/) };
    my $before = $count->();
    $hive->get('/api/v1/auth/me', $user) for 1 .. 5;
    is $count->() - $before, 5, 'five requests are five';
};

subtest 'the database goes and comes back' => sub {
    $hive->stop_postgres;
    ok $hive->wait_for(8, sub { ($hive->get('/health/ready')->code // 0) == 503 }), 'not ready without it';
    is $hive->get('/health')->code, 200, 'but live';
    $hive->start_postgres;
    ok $hive->wait_for(15, sub { ($hive->get('/health/ready')->code // 0) == 200 }), 'ready again by itself';
};

subtest 'the workers go' => sub {
    ok !$hive->{processes}{worker}->stop('TERM', 15), 'the workers stop when asked';
    ok $hive->wait_for(8, sub { ($hive->get('/health/ready')->code // 0) == 503 }), 'not ready without them';
    is $hive->get('/health')->code, 200, 'but live';
    my $res = $hive->post('/api/v1/auth/login', undef, { email => 'a@example.test', password => 'x' x 12 });
    is $res->code, 503, 'a request is refused';
    is $res->json->{code}, 'no_worker', 'by name';
    ok $res->headers->header('Retry-After'), 'with Retry-After';
    $hive->start_worker;
    ok $hive->wait_for(15, sub { ($hive->get('/health/ready')->code // 0) == 200 }), 'ready again with new ones';
};

$hive->stop;
done_testing;
