# sign_in.t: an account, its token, and every token that is none.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(encode_base64url decode_base64url);
use Mojo::JSON qw(encode_json decode_json true false);
use Test::More;

my $hive = Hive::Test->start(workers => 1, nginx_workers => 1);
my %ada = (email => 'ada@example.test', name => 'Ada', password => 'a long walk by the sea');

subtest 'register' => sub {
    my $res = $hive->post('/api/v1/auth/register', undef, {%ada});
    is $res->code, 201, 'created';
    is $res->json->{email}, $ada{email}, 'says the address';
    is $res->json->{is_superuser}, false, 'nobody special';
    unlike $res->body, qr/password|argon2/, 'nothing of the password';
    $res = $hive->post('/api/v1/auth/register', undef, { %ada, email => 'ADA@example.test' });
    is $res->code, 409, 'an address once, whatever its case';
    is $res->json->{code}, 'email_taken', 'code';
    $res = $hive->post('/api/v1/auth/register', undef, { email => 'no', name => '', password => 'short', role => 'admin' });
    is $res->code, 422, 'fields are checked';
    is_deeply [sort map { $_->{field} } @{ $res->json->{errors} }], [qw(email name password role)], 'all of them at once';
    is $hive->psql("select count(*) from hive.credentials where password_hash not like '\$argon2id\$v=19\$m=19456,t=2,p=1\$%'"), 0,
        'argon2id with m=19456 t=2 p=1';
};

my $token;
subtest 'login' => sub {
    my $res = $hive->post('/api/v1/auth/login', undef, { email => 'Ada@Example.test', password => $ada{password} });
    is $res->code, 200, 'signs in';
    $token = $res->json->{access_token};
    like $token, qr/^eyJ[\w-]+\.[\w-]+\.[\w-]+$/, 'a token';
    is lc $res->json->{token_type}, 'bearer', 'of the bearer kind';
    like $res->headers->cache_control, qr/no-store/, 'not to be cached';
    for my $wrong ([$ada{email}, 'another password'], ['nobody@example.test', $ada{password}]) {
        $res = $hive->post('/api/v1/auth/login', undef, { email => $wrong->[0], password => $wrong->[1] });
        is $res->code, 401, 'refused';
        is $res->json->{code}, 'invalid_credentials', 'without saying which was wrong';
    }
};

subtest 'whoami and me' => sub {
    my $who = $hive->get('/api/v1/auth/whoami', { token => $token });
    is $who->code, 200, 'whoami';
    is_deeply [sort keys %{ $who->json }], [sort qw(user_id email name is_superuser session_id issued_at expires_at)], 'its members';
    is $who->json->{email}, $ada{email}, 'email';
    my $me = $hive->get('/api/v1/auth/me', { token => $token });
    is $me->code, 200, 'me';
    is $me->json->{id}, $who->json->{user_id}, 'the same user';
    $hive->stop_postgres;
    is $hive->get('/api/v1/auth/whoami', { token => $token })->code, 200, 'whoami needs no database';
    $hive->start_postgres;
    $hive->wait_ready;
};

# A token of our own making, signed with the real key unless told otherwise.
sub forge {
    my (%o) = @_;
    my ($header, $claims) = map { decode_json(decode_base64url($_)) } (split /\./, $token)[0, 1];
    %$header = (%$header, %{ $o{header} // {} });
    %$claims = (%$claims, %{ $o{claims} // {} });
    delete @$claims{ @{ $o{without} // [] } };
    my $text = join '.', map { encode_base64url(encode_json($_)) } $header, $claims;
    return "$text." . encode_base64url(hmac_sha256($text, $o{key} // $hive->secret));
}

sub refused {
    my ($bearer, $code, $name) = @_;
    my $res = $hive->get('/api/v1/auth/whoami', { token => $bearer });
    subtest $name => sub {
        is $res->code, 401, 'refused';
        is $res->json->{code}, $code, 'code';
        like $res->headers->www_authenticate, qr/^Bearer\b/, 'WWW-Authenticate';
    };
    return;
}

is $hive->get('/api/v1/auth/whoami', { token => forge() })->code, 200, 'the forge makes good tokens too';
is $hive->get('/api/v1/auth/whoami')->json->{code}, 'token_missing', 'no token';
is $hive->get('/api/v1/auth/whoami', undef, undef, { Authorization => 'Basic YTpi' })->code, 401, 'another scheme';
refused forge(claims => { exp => time - 60, iat => time - 120, nbf => time - 120 }), 'token_expired', 'expired';
refused forge(claims => { nbf => time + 600 }), 'token_invalid', 'not yet';
refused forge(claims => { iss => 'somebody' }), 'token_invalid', 'of another issuer';
refused forge(claims => { aud => 'other' }), 'token_invalid', 'for another audience';
refused forge(without => [$_]), 'token_invalid', "without $_" for qw(exp nbf iss aud sub);
refused forge(key => 'x' x 48), 'token_invalid', 'signed with another key';
refused forge(header => { alg => 'none' }), 'token_invalid', 'alg none';
refused forge(header => { alg => 'HS512' }), 'token_invalid', 'another algorithm';
refused forge(header => { kid => 'other' }), 'token_invalid', 'an unknown key';
refused forge(header => { crit => ['exp'] }), 'token_invalid', 'crit';
refused forge(claims => { sub => 'root' }), 'token_invalid', 'a subject that is no id';
refused substr($token, 0, -2), 'token_invalid', 'cut';
refused "$token=", 'token_invalid', 'padded';
refused join('.', (split /\./, $token)[0, 1], ''), 'token_invalid', 'unsigned';
refused 'x', 'token_invalid', 'rubbish';

subtest 'very long' => sub {
    my $res = $hive->raw("GET /api/v1/auth/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "
        . 'a' x 7000 . ".b.c\r\n\r\n");
    like $res, qr{^HTTP/1\.1 401 }, 'refused';
};

subtest 'after it has been verified, a token stays good only until it expires' => sub {
    my $short = forge(claims => { exp => time + 1, iat => time - 10, nbf => time - 10 });
    is $hive->get('/api/v1/auth/whoami', { token => $short })->code, 200, 'now';
    ok $hive->wait_for(12, sub { $hive->get('/api/v1/auth/whoami', { token => $short })->code == 401 }), 'not from the cache later';
};

subtest 'deactivated' => sub {
    my $eve = $hive->register;
    $hive->psql("update hive.users set is_active = false where id = '$eve->{id}'");
    my $res = $hive->post('/api/v1/auth/login', undef, { email => $eve->{email}, password => $eve->{password} });
    is $res->code, 401, 'cannot sign in';
    is $res->json->{code}, 'invalid_credentials', 'and is not told why';
};

subtest 'the first administrator' => sub {
    my $init = sub {
        my $as = $> == 0 ? "setpriv --reuid=$Hive::Test::Process::service --regid=$Hive::Test::Process::service --init-groups" : '';
        return `cd / && $as '@{[$hive->dir]}/bin/hive-worker' -c '@{[$hive->dir]}/worker.ini' --init-admin 2>&1`;
    };
    my $old = $init->();
    my $link = $init->();
    like $link, qr{^http://127\.0\.0\.1:\d+/setup#token=[0-9a-f]{64}$}m, 'a link';
    my %root = (email => 'root@example.test', name => 'Root', password => 'one more walk by the sea');
    my $setup = sub { $hive->post('/api/v1/auth/setup', undef, { %root, token => $_[0] }) };
    is $setup->('0' x 64)->code, 403, 'not with any token';
    is $setup->($old =~ /token=(\w+)/)->code, 403, 'nor with the one before';
    my ($good) = $link =~ /token=(\w+)/;
    is $setup->($good)->code, 201, 'with the last one';
    is $setup->($good)->code, 409, 'once';
    my $user = $hive->login({%root});
    is $hive->get('/api/v1/auth/whoami', $user)->json->{is_superuser}, true, 'an administrator';
    unlike $init->(), qr/token=/, 'no second link';
    is $hive->get('/setup')->code, 200, 'the page that the link opens is there';
};

unlike $hive->log($_), qr/\Q$ada{password}\E|eyJ[\w-]{20}/, "no password and no token in the $_ log" for qw(worker nginx access);

$hive->stop;
done_testing;
