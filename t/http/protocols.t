# protocols.t: HTTP/2, keys of every algorithm side by side, and Hive behind
# an nginx that rewrites and has error pages of its own.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use File::Temp ();
use Mojo::JSON qw(encode_json decode_json);
use MIME::Base64 qw(encode_base64url);
use Digest::SHA qw(hmac_sha256);
use Test::More;

my $secret = join '', map { sprintf '%08x', int rand 2**32 } 1 .. 8;
my $keys = File::Temp->newdir(CLEANUP => 1);
chmod 0755, $keys;
sub openssl { system("openssl $_[0] 2>/dev/null") == 0 or die "openssl $_[0]" }
openssl "ecparam -name prime256v1 -genkey -noout -out $keys/ec.pem";
openssl "ec -in $keys/ec.pem -pubout -out $keys/ec.pub";
openssl "genrsa -out $keys/rsa.pem 2048";
openssl "rsa -in $keys/rsa.pem -pubout -out $keys/rsa.pub";
open my $fh, '>', "$keys/hmac.key" or die;
print $fh $secret;
close $fh;
chmod 0644, glob "$keys/*";

my $h2 = Hive::Test::free_port();
my $hive = Hive::Test->start(workers => 1, nginx_workers => 1, server => <<'NGINX', http => <<"HTTP");
        location = /old { rewrite ^ /api/v1/auth/whoami last; }
        error_page 404 /ours;
        location = /ours { return 404 "ours\n"; }
        location /files/ { alias /nowhere/; }
NGINX
    hive_jwt_key ec-1 ES256 $keys/ec.pub;
    hive_jwt_key rsa-1 RS256 $keys/rsa.pub;
    hive_jwt_key hs-1 HS256 $keys/hmac.key;
    server {
        listen 127.0.0.1:$h2 http2;
        location ^~ /api/ { hive on; }
    }
HTTP
my $ada = $hive->register;

# The parts of ada's token, signed anew: by OpenSSL's command, not our code.
sub signed {
    my ($kid, $alg, $by) = @_;
    my (undef, $claims) = split /\./, $ada->{token};
    my $input = encode_base64url(encode_json({ alg => $alg, kid => $kid, typ => 'JWT' })) . ".$claims";
    return "$input." . encode_base64url($by->($input));
}

sub by_openssl {
    my ($key, $input) = @_;
    open my $fh, '>', "$keys/input" or die;
    print $fh $input;
    close $fh;
    my $signature = `openssl dgst -sha256 -sign $keys/$key.pem $keys/input`;
    return $signature unless $key eq 'ec';
    # DER to r and s of 32 bytes
    my $at = 2;
    my @numbers;
    for (1, 2) {
        my $len = ord substr $signature, $at + 1, 1;
        my $number = substr $signature, $at + 2, $len;
        $number =~ s/^\0+//;
        push @numbers, ("\0" x (32 - length $number)) . $number;
        $at += 2 + $len;
    }
    return join '', @numbers;
}

sub whoami {
    my ($token) = @_;
    return $hive->get('/api/v1/auth/whoami', { token => $token });
}

subtest 'four keys, three algorithms' => sub {
    is whoami($ada->{token})->code, 200, 'the one that signs';
    is whoami(signed('ec-1', 'ES256', sub { by_openssl(ec => @_) }))->code, 200, 'ES256';
    is whoami(signed('rsa-1', 'RS256', sub { by_openssl(rsa => @_) }))->code, 200, 'RS256';
    is whoami(signed('hs-1', 'HS256', sub { hmac_sha256($_[0], $secret) }))->code, 200, 'a second HS256';
    my $res = $hive->get('/api/v1/projects', { token => signed('rsa-1', 'RS256', sub { by_openssl(rsa => @_) }) });
    is $res->code, 200, 'and through to a worker';

    my $public = Hive::Test::slurp("$keys/rsa.pub");
    my %wrong = (
        'a name nobody has' => signed('rsa-9', 'RS256', sub { by_openssl(rsa => @_) }),
        'another key\'s name' => signed('ec-1', 'ES256', sub { by_openssl(rsa => @_) }),
        'another algorithm than the key\'s' => signed('rsa-1', 'HS256', sub { hmac_sha256($_[0], $public) }),
        'no algorithm' => signed('rsa-1', 'none', sub { '' }),
    );
    is whoami($wrong{$_})->code, 401, "refused: $_" for sort keys %wrong;
};

subtest 'HTTP/2' => sub {
    my $curl = sub {
        my ($more) = @_;
        my $out = `curl -s --max-time 10 --http2-prior-knowledge -w '\n%{http_version} %{http_code}' -H 'Authorization: Bearer $ada->{token}' $more`;
        my ($body, $version, $code) = $out =~ /^(.*)\n(\S+) (\d+)$/s;
        return ($code, $body, $version);
    };
    my $url = "http://127.0.0.1:$h2/api/v1/projects";
    my ($code, $body, $version) = $curl->("$url -H 'Content-Type: application/json' -d '{\"name\":\"Over two\"}'");
    is "$version $code", '2 201', 'POST';
    my $id = decode_json($body)->{id};
    # from a pipe: no content-length
    ($code, $body) = $curl->("$url -H 'Content-Type: application/json' -H 'Content-Length:' -T - -X POST <<'END'\n{\"name\":\"No length\"}\nEND\n");
    is $code, 201, 'POST whose length nobody said' or diag $body;
    is decode_json($body)->{name}, 'No length', 'arrived whole' if $code == 201;
    ($code, $body) = $curl->("$url/$id");
    is $code, 200, 'GET';
    is decode_json($body)->{name}, 'Over two', 'the same';
};

subtest 'beside other locations' => sub {
    is $hive->get('/old', $ada)->code, 200, 'a rewrite into Hive';
    is $hive->get('/files/none')->body, "ours\n", 'an error page of the site';
    my $res = $hive->get('/api/v1/projects/00000000-0000-7000-8000-000000000000', $ada);
    is $res->code, 404, 'a 404 of Hive';
    is $res->json->{code}, 'project_not_found', 'stays Hive\'s';
};

$hive->stop;
done_testing;
