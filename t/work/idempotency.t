# idempotency.t: a POST that is sent again with its Idempotency-Key happens
# once, whoever answers, whatever dies.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Mojo::Promise;
use Test::More;

my $hive = Hive::Test->start(workers => 2, nginx_workers => 2);
my $ada = $hive->register;
my $eve = $hive->register;
my $base = '/api/v1/projects';

sub count {
    my ($name) = @_;
    return $hive->psql("select count(*) from cell0.projects where name = '$name'");
}

subtest 'again' => sub {
    my %key = ('Idempotency-Key' => 'again-1');
    my $first = $hive->post($base, $ada, { name => 'Again' }, {%key});
    is $first->code, 201, 'created';
    is $first->headers->header('Idempotency-Replayed'), undef, 'not a replay';
    my $second = $hive->post($base, $ada, { name => 'Again' }, {%key});
    is $second->code, 201, 'the same status';
    is $second->body, $first->body, 'the same body';
    is $second->headers->etag, $first->headers->etag, 'the same ETag';
    is $second->headers->header('Idempotency-Replayed'), 'true', 'and says that it is a replay';
    is count('Again'), 1, 'one row';
    is $hive->psql("select count(*) from cell0.events where channel = 'project:" . $first->json->{id} . "'"), 1, 'one event';
};

subtest 'the key is bound to its request and its user' => sub {
    my %key = ('Idempotency-Key' => 'bound-1');
    is $hive->post($base, $ada, { name => 'Bound' }, {%key})->code, 201, 'created';
    my $res = $hive->post($base, $ada, { name => 'Other' }, {%key});
    is $res->code, 422, 'another body is refused';
    is $res->json->{code}, 'idempotency_key_reused', 'code';
    is count('Other'), 0, 'and does nothing';
    is $hive->post($base, $eve, { name => 'Bound' }, {%key})->code, 201, 'somebody else has keys of their own';
    is count('Bound'), 2, 'two rows, of two people';
};

subtest 'a failure is not stored' => sub {
    my %key = ('Idempotency-Key' => 'failed-1');
    is $hive->post($base, $ada, { name => '' }, {%key})->code, 422, 'refused';
    is $hive->post($base, $ada, { name => 'Mended' }, {%key})->code, 201, 'mended and sent again';
};

subtest 'many at once' => sub {
    my @tx;
    my @all = map {
        $hive->ua->start_p($hive->ua->build_tx(POST => $hive->url($base) => {
            Authorization => "Bearer $ada->{token}", 'Idempotency-Key' => 'many-1',
        } => json => { name => 'Many' }))->then(sub { push @tx, shift })
    } 1 .. 16;
    Mojo::Promise->all_settled(@all)->wait;
    is scalar @tx, 16, 'all are answered';
    my %codes;
    $codes{ $_->res->code // 0 }++ for @tx;
    is_deeply [grep { $_ != 201 && $_ != 409 } keys %codes], [], 'created, or in progress' or diag explain \%codes;
    my %ids = map { $_->res->json->{id} => 1 } grep { $_->res->code == 201 } @tx;
    is scalar keys %ids, 1, 'one id';
    is count('Many'), 1, 'one row';
};

subtest 'a worker that dies' => sub {
    ok $hive->wait_up, 'two workers serve';
    for my $round (1 .. 3) {
        my $name = "Died $round";
        my ($answered, $killed) = (0, 0);
        my $tx;
        $hive->ua->start_p($hive->ua->build_tx(POST => $hive->url($base) => {
            Authorization => "Bearer $ada->{token}", 'Idempotency-Key' => "died-$round",
        } => json => { name => $name }))->then(sub { $tx = shift })->finally(sub { $answered = 1 });
        # both: a kill left over would strike in the next round
        Mojo::IOLoop->timer(0.002 * $round => sub { $hive->kill_worker('KILL'); $killed = 1 });
        Mojo::IOLoop->one_tick until $answered && $killed;
        is $tx && $tx->res->code, 201, "answered all the same ($round)";
        is count($name), 1, 'once';
        ok $hive->wait_up, 'its successor serves';
    }
};

subtest 'registration' => sub {
    my %user = (email => 'twice@example.test', name => 'Twice', password => 'a long walk by the sea');
    my %key = ('Idempotency-Key' => 'register-1');
    my $first = $hive->post('/api/v1/auth/register', undef, {%user}, {%key});
    my $second = $hive->post('/api/v1/auth/register', undef, {%user}, {%key});
    is $first->code, 201, 'registered';
    is $second->code, 201, 'and said so again';
    is $second->json->{id}, $first->json->{id}, 'the same account';
};

$hive->stop;
done_testing;
