# races.t: of many who want one address or one link at once, one gets it; and
# more sign-ins than the machine can hash are turned away, not piled up.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Mojo::JSON qw(encode_json);
use Mojo::Promise;
use Test::More;

my $hive = Hive::Test->start(workers => 2, nginx_workers => 2);
my $password = 'a long walk by the sea';

# Posts all at once; returns the replies in order.
sub at_once {
    my ($path, @bodies) = @_;
    my @replies;
    Mojo::Promise->all(map {
        $hive->ua->post_p($hive->url($path), { 'Content-Type' => 'application/json' }, encode_json($_))
    } @bodies)->then(sub { @replies = map { $_->[0]->res } @_ })->wait;
    return @replies;
}

sub count_of {
    my (%count);
    $count{ $_->code }++ for @_;
    return \%count;
}

sub init_admin {
    my $as = $> == 0 ? "setpriv --reuid=$Hive::Test::Process::service --regid=$Hive::Test::Process::service --init-groups" : '';
    my $out = `cd / && $as '@{[$hive->dir]}/bin/hive-worker' -c '@{[$hive->dir]}/worker.ini' --init-admin 2>&1`;
    return $out =~ /token=(\w+)/ ? $1 : undef;
}

subtest 'one address' => sub {
    for my $round (1 .. 3) {
        my @replies = at_once('/api/v1/auth/register', map {
            { email => ($_ % 2 ? "Ada$round\@example.test" : "ada$round\@EXAMPLE.test"), name => "Ada $_", password => $password }
        } 1 .. 8);
        is_deeply count_of(@replies), { 201 => 1, 409 => 7 }, 'of eight registrations, one';
        is $hive->psql("select count(*) from hive.users u join hive.credentials c on c.user_id = u.id
            where lower(u.email) = 'ada$round\@example.test'"), 1, 'one account with its credentials';
    }
};

subtest 'one link' => sub {
    my $token = init_admin();
    my @replies = at_once('/api/v1/auth/setup', { token => $token, email => 'Ada1@example.test', name => 'X', password => $password });
    is $replies[0]->json->{code}, 'email_taken', 'a taken address';
    @replies = at_once('/api/v1/auth/setup', map {
        { token => $token, email => "root$_\@example.test", name => 'Root', password => $password }
    } 1 .. 8);
    is_deeply count_of(@replies), { 201 => 1, 409 => 7 }, 'of eight set-ups, one; the taken address had not used the link up';
    is $hive->psql('select count(*) from hive.users where is_superuser'), 1, 'one administrator';
    is $hive->psql("select count(*) from hive.users where email like 'root%'"), 1, 'and no half-made others';
    is init_admin(), undef, 'no more links';
};

subtest 'identical refusals' => sub {
    $hive->psql("update hive.users set is_active = false where lower(email) = 'ada2\@example.test'");
    my @replies = at_once('/api/v1/auth/login',
        { email => 'Ada1@example.test', password => 'not the password' },
        { email => 'nobody@example.test', password => $password },
        { email => 'no address', password => $password },
        { email => 'Ada2@example.test', password => $password },
        { email => 'Ada1@example.test', password => $password x 60 });
    my %seen;
    for my $res (@replies) {
        my $problem = $res->json;
        delete $problem->{request_id};
        my $headers = join "\n", sort grep { !/^(?:Date|X-Request-Id)$/i } @{ $res->headers->names };
        $seen{ join "\n", $res->code, $headers, encode_json([map { $_, $problem->{$_} } sort keys %$problem]) }++;
    }
    is_deeply [values %seen], [5], 'wrong password, no account, no address, deactivated, too long: one reply' or diag explain \%seen;
};

subtest 'an old hash is made anew' => sub {
    # of $password, made by libargon2 itself
    my $old = '$argon2id$v=19$m=9728,t=3,p=1$c2l4dGVlbiBieXRlcyBvaw$t8nN/1kW+82pX/ETwx5BCMkqOem1IRpkUtZC0J/nd8s';
    my $where = "user_id = (select id from hive.users where lower(email) = 'ada3\@example.test')";
    $hive->psql("update hive.credentials set password_hash = '$old' where $where");
    for my $time ('with the old hash', 'with the new') {
        my ($res) = at_once('/api/v1/auth/login', { email => 'ada3@example.test', password => $password });
        is $res->code, 200, "signs in $time";
        like $hive->psql("select password_hash from hive.credentials where $where"),
            qr/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/, 'and has today\'s parameters';
    }
    $hive->psql("update hive.credentials set password_hash = '\$argon2id\$v=19\$m=4000000,t=9,p=1\$c2FsdHNhbHQ\$MDEyMzQ1Njc4OTAxMjM0NQ' where $where");
    my ($res) = at_once('/api/v1/auth/login', { email => 'ada3@example.test', password => $password });
    is $res->code, 401, 'a hash that asks for gigabytes is not computed';
};

subtest 'sessions are kept' => sub {
    my ($id) = $hive->psql("select id from hive.users where lower(email) = 'ada1\@example.test'");
    my $login = sub {
        my ($agent) = @_;
        return $hive->request(POST => '/api/v1/auth/login', undef, { email => 'ada1@example.test', password => $password },
            { 'User-Agent' => $agent });
    };
    is $login->('Mozilla/5.0 (test)')->code, 200, 'signs in';
    is $hive->psql("select user_agent || ' ' || host(client_ip) from hive.sessions where user_id = '$id'"),
        'Mozilla/5.0 (test) 127.0.0.1', 'with what the browser calls itself, and from where';
    is $login->("\xff\xfe")->code, 200, 'rubbish for a user agent does not stop a sign-in';
    is $login->('x' x 399 . "\xc3\xa4")->code, 200, 'nor a long one';
    is $hive->psql("select count(*) from hive.sessions where user_id = '$id' and length(user_agent) = 399"), 1, 'which is cut between characters';
    is $login->("caf\xc3\xa9/1.0")->code, 200, 'nor one in UTF-8';
    is $hive->psql("select count(*) from hive.sessions where user_id = '$id' and octet_length(user_agent) = 9"), 1, 'which is kept';
};

$hive->stop;

subtest 'more sign-ins than can be hashed' => sub {
    $hive = Hive::Test->start(workers => 1, nginx_workers => 1,
        ini => { auth => { hash_threads => 1, hash_queue => 2 } });
    my $ada = $hive->register;
    my @replies = at_once('/api/v1/auth/login', map { { email => $ada->{email}, password => $ada->{password} } } 1 .. 24);
    my @busy = grep { $_->code == 503 } @replies;
    my $count = count_of(@replies);
    is $count->{200} + $count->{503}, 24, 'each is let in or turned away' or diag explain $count;
    cmp_ok $count->{200}, '>=', 3, 'as many as fit are let in';
    cmp_ok scalar @busy, '>=', 1, 'others are turned away';
    is_deeply [grep { $_->json->{code} ne 'hashing_busy' || !$_->headers->header('Retry-After') } @busy], [], 'with a code and Retry-After';
    is $hive->get('/api/v1/auth/me', $ada)->code, 200, 'everything else goes on';
    is $hive->login($ada)->{email}, $ada->{email}, 'and so do sign-ins, after it';
    $hive->stop;
};

done_testing;
