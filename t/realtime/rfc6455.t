# rfc6455.t: each rule of RFC 6455 that binds a server, against nginx: what
# is sent, and what must come back. Every rule's bytes are sent as a whole,
# and again each in a TCP segment of its own.

use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../lib";
use Hive::Test;
use Hive::WebSocket qw(:all);
use Test::More;
use Time::HiRes qw(time);

my $hive = Hive::Test->start(postgres => 0, worker => 0, wait => 0, nginx_workers => 1,
    server => '        location = /echo { hive_websocket_echo on; }');

# ---- words for frames ----

sub text { frame(text => @_) }
sub binary { frame(binary => @_) }
sub more_text { frame(text => @_, fin => 0) }
sub more_binary { frame(binary => @_, fin => 0) }
sub more { frame(continuation => @_, fin => 0) }
sub last_one { frame(continuation => @_) }
sub ping { frame(ping => @_) }
sub pong { frame(pong => @_) }

# What comes back when the server fails the connection (7.1.7).
sub fails { return qr/^close $_[0]\b/ }

# ---- 4: the opening handshake ----

sub upgrade {
    my (%o) = @_;
    return Hive::WebSocket->connect(port => $hive->port, path => '/echo', any => 1, %o);
}

# [section, rule, how the request differs, status, and what the answer's head
# must be like]
my $refused = qr/^4\d\d$/;
my $sample = 'dGhlIHNhbXBsZSBub25jZQ==';
my @handshakes = (
    ['4.2.1.1', 'a GET of HTTP/1.1', {}, 101],
    ['4.2.1.1', 'POST is refused', { method => 'POST' }, $refused],
    ['4.2.1.1', 'HEAD is refused', { method => 'HEAD' }, $refused],
    ['4.2.1.1', 'PUT is refused', { method => 'PUT', headers => ['Content-Length: 0'] }, $refused],
    ['4.2.1.1', 'HTTP/1.0 is refused', { version => 'HTTP/1.0' }, qr/^(?:4\d\d|505)$/],
    ['4.2.1.1', 'a query is no matter', { path => '/echo?a=b' }, 101],
    ['4.2.1.2', 'no Host is refused', { set => { Host => undef } }, $refused],
    ['4.2.1.2', 'two of Host are refused', { set => { Host => ['a', 'b'] } }, $refused],
    ['4.2.1.3', 'no Upgrade is refused', { set => { Upgrade => undef } }, $refused],
    ['4.2.1.3', 'an empty Upgrade is refused', { set => { Upgrade => '' } }, $refused],
    ['4.2.1.3', 'an Upgrade to something else is refused', { set => { Upgrade => 'h2c' } }, $refused],
    ['4.2.1.3', 'an Upgrade to something longer is refused', { set => { Upgrade => 'websockets' } }, $refused],
    ['4.2.1.3', 'an Upgrade to something shorter is refused', { set => { Upgrade => 'websocke' } }, $refused],
    ['4.2.1.3', 'Upgrade in any case', { set => { Upgrade => 'WebSocket' } }, 101],
    ['4.2.1.3', 'Upgrade in upper case', { set => { Upgrade => 'WEBSOCKET' } }, 101],
    ['4.2.1.3', 'Upgrade as one of a list', { set => { Upgrade => 'foo/1, websocket' } }, 101],
    ['4.2.1.4', 'no Connection is refused', { set => { Connection => undef } }, $refused],
    ['4.2.1.4', 'a Connection without the token is refused', { set => { Connection => 'keep-alive' } }, $refused],
    ['4.2.1.4', 'a longer token is another', { set => { Connection => 'Upgrades' } }, $refused],
    ['4.2.1.4', 'a token that ends like it is another', { set => { Connection => 'no-upgrade' } }, $refused],
    ['4.2.1.4', 'a shorter token is another', { set => { Connection => 'Upgrad' } }, $refused],
    ['4.2.1.4', 'two words are no token', { set => { Connection => 'Upgrade now' } }, $refused],
    ['4.2.1.4', 'the token in lower case', { set => { Connection => 'upgrade' } }, 101],
    ['4.2.1.4', 'the token in upper case', { set => { Connection => 'UPGRADE' } }, 101],
    ['4.2.1.4', 'the last token of a list', { set => { Connection => 'keep-alive, Upgrade' } }, 101],
    ['4.2.1.4', 'the first token of a list', { set => { Connection => 'Upgrade,keep-alive' } }, 101],
    ['4.2.1.4', 'a token of a list with empty elements', { set => { Connection => ", ,keep-alive\t ,\tUpgrade ," } }, 101],
    ['4.2.1.4', 'a token of the second line of that name', { set => { Connection => ['keep-alive', 'Upgrade'] } }, 101],
    ['4.2.1.5', 'no key is refused', { set => { 'Sec-WebSocket-Key' => undef } }, $refused],
    ['4.2.1.5', 'an empty key is refused', { set => { 'Sec-WebSocket-Key' => '' } }, $refused],
    ['4.2.1.5', 'a key of 15 bytes is refused', { set => { 'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25j' } }, $refused],
    ['4.2.1.5', 'a key of 17 bytes is refused', { set => { 'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZWU=' } }, $refused],
    ['4.2.1.5', 'a key of 18 bytes is refused', { set => { 'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZWVl' } }, $refused],
    ['4.2.1.5', 'a key of 22 characters without padding is refused', { set => { 'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZQ' } }, $refused],
    ['4.2.1.5', 'a key with too little padding is refused', { set => { 'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZQ=' } }, $refused],
    ['4.2.1.5', 'a key with too much padding is refused', { set => { 'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZQ===' } }, $refused],
    ['4.2.1.5', 'a key with padding inside is refused', { set => { 'Sec-WebSocket-Key' => 'dGhlIHNhbXBs=SBub25jZQ==' } }, $refused],
    ['4.2.1.5', 'a key that is not base64 is refused', { set => { 'Sec-WebSocket-Key' => 'dGhlIHNhbXBs!SBub25jZQ==' } }, $refused],
    ['4.2.1.5', 'a key of the URL alphabet is refused', { set => { 'Sec-WebSocket-Key' => 'dGhlIHNhbXBs-SBub25jZQ==' } }, $refused],
    ['4.2.1.5', 'a key with a space inside is refused', { set => { 'Sec-WebSocket-Key' => 'dGhlIHNhbXBs ZSBub25jZQ==' } }, $refused],
    ['4.2.1.5', 'a key with + and /', { key => '+/+/+/+/+/+/+/+/+/+/+w==' }, 101],
    ['4.2.1.6', 'version 12 is refused, 13 named', { set => { 'Sec-WebSocket-Version' => 12 } }, 426, qr/^Sec-WebSocket-Version: 13\r$/mi],
    ['4.2.1.6', 'version 8 is refused, 13 named', { set => { 'Sec-WebSocket-Version' => 8 } }, 426, qr/^Sec-WebSocket-Version: 13\r$/mi],
    ['4.2.1.6', 'version 14 is refused, 13 named', { set => { 'Sec-WebSocket-Version' => 14 } }, 426, qr/^Sec-WebSocket-Version: 13\r$/mi],
    ['4.2.1.6', 'version 131 is refused, 13 named', { set => { 'Sec-WebSocket-Version' => 131 } }, 426, qr/^Sec-WebSocket-Version: 13\r$/mi],
    ['4.2.1.6', 'version 013 is refused, 13 named', { set => { 'Sec-WebSocket-Version' => '013' } }, qr/^4(?:00|26)$/, qr/^Sec-WebSocket-Version: 13\r$/mi],
    ['4.2.1.6', 'no number is refused', { set => { 'Sec-WebSocket-Version' => 'x' } }, qr/^4(?:00|26)$/],
    ['4.2.1.6', 'no version is refused', { set => { 'Sec-WebSocket-Version' => undef } }, qr/^4(?:00|26)$/],
    ['4.2.1.7', 'an Origin is no matter to the echo', { headers => ['Origin: http://example.test'] }, 101],
    ['4.2.1.10', 'other headers are no matter', { headers => ['Cookie: a=b', 'X-Other: 1', 'Sec-WebSocket-Other: 1'] }, 101],
    ['4.2.2.4', 'Sec-WebSocket-Accept is that of the example', { key => $sample }, 101,
        qr/^Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r$/m],
    ['4.2.2.5', 'the answer says Upgrade: websocket', {}, 101, qr/^Upgrade: websocket\r$/mi],
    ['4.2.2.5', 'the answer says Connection: Upgrade', {}, 101, qr/^Connection: Upgrade\r$/mi],
    ['4.2.2.5', 'each once', {}, 101, qr/\A(?!.*^(Upgrade|Connection|Sec-WebSocket-Accept):.*^\1:)/msi],
    ['4.2.2.5', 'no protocol unless offered', {}, 101, qr/\A(?!.*^Sec-WebSocket-Protocol:)/msi],
    ['4.2.2.5', 'no protocol that was not offered', { headers => ['Sec-WebSocket-Protocol: chat, superchat'] }, 101,
        qr/\A(?!.*^Sec-WebSocket-Protocol: (?!chat\r|superchat\r))/msi],
    ['4.2.2.5', 'no extension unless offered', {}, 101, qr/\A(?!.*^Sec-WebSocket-Extensions:)/msi],
    ['4.2.2.5', 'no extension that we do not know', { headers => ['Sec-WebSocket-Extensions: foo; bar=1, x-baz'] }, 101,
        qr/\A(?!.*^Sec-WebSocket-Extensions:)/msi],
    ['4.2.2', 'the answer has no body (RFC 9110, 8.6)', {}, 101, qr/\A(?!.*^(?:Content-Length|Transfer-Encoding):)/msi],
    ['9.1', 'a list of extensions that is malformed is refused', { headers => ['Sec-WebSocket-Extensions: foo; ; bar'] }, $refused],
    ['11.3.1', 'two keys are refused', { set => { 'Sec-WebSocket-Key' => [$sample, $sample] } }, $refused],
    ['11.3.5', 'two versions are refused', { set => { 'Sec-WebSocket-Version' => [13, 13] } }, $refused],
);

for my $rule (@handshakes) {
    my ($section, $name, $request, $status, $like) = @$rule;
    my $key = $request->{key} // Hive::WebSocket::new_key();
    my $ws = upgrade(%$request, key => $key);
    my $right = $ws->status =~ (ref $status ? $status : qr/^$status$/) && $ws->head =~ ($like // qr/^/);
    ok $right, "$section $name" or diag $ws->head || 'no answer';
    if ($ws->status == 101) {
        is $ws->header('Sec-WebSocket-Accept'), accept_of($key), "4.2.2.4 $name: its key is answered";
        lives($ws, "4.2.2 $name: and it is a connection");
    }
    else {
        is $ws->header('Sec-WebSocket-Accept'), undef, "4.2.2 $name: no key is answered";
    }
    $ws->drop;
}

# Nothing more comes, and a ping is answered.
sub lives {
    my ($ws, $name) = @_;
    $ws->write(ping('alive'));
    return is describe($ws->next_frame(5)), 'pong alive', $name;
}

{
    my $key = Hive::WebSocket::new_key();
    my $ws = Hive::WebSocket->open_socket(port => $hive->port);
    $ws->write_bytewise(handshake(path => '/echo', key => $key));
    $ws->read_head(5);
    is $ws->header('Sec-WebSocket-Accept'), accept_of($key), '4.2.1 a handshake byte by byte';
    lives($ws, '4.2.1 is one');
    $ws->drop;

    $ws = Hive::WebSocket->open_socket(port => $hive->port);
    $ws->write("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    $ws->read_head(5);
    is $ws->status, 200, '4.1 another request first';
    my $length = $ws->header('Content-Length');
    $ws->fill(time + 1) while length $ws->{in} < $length && !$ws->{eof};
    substr $ws->{in}, 0, $length, '';
    $ws->write(handshake(path => '/echo', key => $key));
    $ws->read_head(5);
    is $ws->header('Sec-WebSocket-Accept'), accept_of($key), '4.1 then a handshake on its connection';
    lives($ws, '4.1 is one');
    $ws->drop;

    for my $frames ([text('Hello'), 'text Hello'], [ping('first'), 'pong first'],
        [more_text('Hel') . last_one('lo') . text('more'), 'text Hello', 'text more'],
        [text('x' x 5000), said(text => 'x' x 5000)], [text('x' x 100_000), said(text => 'x' x 100_000)])
    {
        my ($bytes, @expected) = @$frames;
        $ws = upgrade(first => $bytes);
        is $ws->status, 101, '5.1 frames in one write with the handshake';
        is describe($ws->next_frame(5)), $_, "5.1 are read: $_" for @expected;
        lives($ws, '5.1 and it goes on');
        $ws->drop;
    }

    $ws = upgrade(first => close_frame(1000));
    is join(' | ', map { describe($_) } $ws->frames(5)), 'close 1000 | eof', '5.1 a close in one write with the handshake';

    my $frame = text('Hello');
    $ws = Hive::WebSocket->open_socket(port => $hive->port);
    $ws->write(handshake(path => '/echo', key => $key) . substr $frame, 0, 3);
    $ws->read_head(5);
    $ws->write(substr $frame, 3);
    is describe($ws->next_frame(5)), 'text Hello', '5.1 half a frame with the handshake';
    $ws->drop;
}

# ---- 5 to 8: frames ----

my @rules = (
    # 5.1
    ['5.1', 'a frame that is masked is taken', text('Hello'), 'text Hello'],
    ['5.1', 'a text frame without a mask closes', text('Hello', mask => ''), fails(1002)],
    ['5.1', 'a binary frame without a mask closes', binary('Hello', mask => ''), fails(1002)],
    ['5.1', 'a frame without mask and payload closes', text('', mask => ''), fails(1002)],
    ['5.1', 'a ping without a mask closes', ping('', mask => ''), fails(1002)],
    ['5.1', 'a close without a mask closes', close_frame(1000, '', mask => ''), fails(1002)],
    ['5.1', 'a continuation without a mask closes', more_text('a') . last_one('b', mask => ''), fails(1002)],

    # 5.2
    (map { ['5.2', "RSV bits $_ of a text frame close", text('a', rsv => $_), fails(1002)] } 1 .. 7),
    (map { ['5.2', "RSV bits $_ of a ping close", ping('a', rsv => $_), fails(1002)] } 1, 2, 4),
    (map { ['5.2', "RSV bits $_ of a close close", close_frame(1000, '', rsv => $_), fails(1002)] } 1, 2, 4),
    (map { ['5.2', "RSV bits $_ of a continuation close", more_text('a') . last_one('b', rsv => $_), fails(1002)] } 1, 2, 4),
    (map { ['5.2', "the reserved opcode $_ closes", frame($_ => 'a'), fails(1002)] } 3 .. 7, 11 .. 15),
    (map { ['5.2', "the reserved opcode $_ closes without payload", frame($_ => ''), fails(1002)] } 3, 11),
    ['5.2', 'a reserved opcode closes inside a message', more_text('a') . frame(3 => 'b'), fails(1002)],
    ['5.2', 'what came before is answered', text('a') . frame(3 => 'b'), 'text a', fails(1002)],
    (map { my $text = 'x' x $_; ['5.2', "a payload of $_ bytes", text($text), said(text => $text)] }
        0, 1, 7, 8, 124, 125, 126, 127, 128, 255, 256, 257, 1000, 4096, 65534, 65535, 65536, 65537, 200_000),
    ['5.2', 'a length below 126 in 16 bits closes', text('x' x 125, form => 16), fails(1002)],
    ['5.2', 'no length in 16 bits closes', text('', form => 16), fails(1002)],
    ['5.2', 'a length below 126 in 64 bits closes', text('x', form => 64), fails(1002)],
    ['5.2', 'a length of 16 bits in 64 closes', text('x' x 65535, form => 64), fails(1002)],
    ['5.2', 'the highest bit of 64 closes', frame(text => '', form => 64, announce => 1 << 63), fails(1002)],

    # 5.3
    (map { ['5.3', 'any mask: ' . unpack('H*', $_), text('masked with any key', mask => $_), 'text masked with any key'] }
        "\0\0\0\0", "\xff\xff\xff\xff", "\1\0\0\0", "\0\0\0\1", "\x81\x85\x88\x80", 'mask'),
    ['5.3', 'a mask for each frame', more_text('ab', mask => "\1\2\3\4") . ping('cd', mask => "\5\6\7\x08") . last_one('ef', mask => "\x09\x0a\x0b\x0c"),
        'pong cd', 'text abef'],
    ['5.3', 'a mask that turns on where a frame of odd length ended', more_binary("\0" x 7, mask => 'abcd') . last_one("\0" x 9, mask => 'efgh'),
        said(binary => "\0" x 16)],

    # 5.4
    ['5.4', 'two fragments', more_text('Hel') . last_one('lo'), 'text Hello'],
    ['5.4', 'five fragments', more_binary('H') . more('e') . more('l') . more('l') . last_one('o'), 'binary Hello'],
    ['5.4', 'fragments without payload', more_text('') . more('') . last_one(''), 'text'],
    ['5.4', 'fragments with and without payload', more_text('') . more('a') . more('') . last_one('b') . text('c'), 'text ab', 'text c'],
    ['5.4', 'a ping between fragments is answered at once', more_text('Hel') . ping('x') . last_one('lo'), 'pong x', 'text Hello'],
    ['5.4', 'a ping in a message that does not end', more_text('Hel') . ping('x'), 'pong x'],
    ['5.4', 'pings between all fragments', more_text('H') . ping(1) . more('el') . ping(2) . more('l') . ping(3) . last_one('o'),
        'pong 1', 'pong 2', 'pong 3', 'text Hello'],
    ['5.4', 'a pong between fragments', more_text('Hel') . pong('x') . last_one('lo'), 'text Hello'],
    ['5.4', 'a close between fragments', more_text('Hel') . close_frame(1000), qr/^close 1000\b/],
    ['5.4', 'a text frame inside a message closes', more_text('a') . text('b'), fails(1002)],
    ['5.4', 'a binary frame inside a message closes', more_text('a') . binary('b'), fails(1002)],
    ['5.4', 'a message that begins inside a message closes', more_text('a') . more_text('b'), fails(1002)],
    ['5.4', 'inside one that began without payload too', more_text('') . text('b'), fails(1002)],
    ['5.4', 'a continuation of nothing closes', last_one('a'), fails(1002)],
    ['5.4', 'an unfinished continuation of nothing closes', more('a'), fails(1002)],
    ['5.4', 'a continuation of a message that has ended closes', more_text('a') . last_one('b') . last_one('c'), 'text ab', fails(1002)],
    ['5.4', 'a continuation after a message of one frame closes', text('a') . last_one('b'), 'text a', fails(1002)],
    ['5.4', 'a continuation after a ping closes', ping('a') . last_one('b'), 'pong a', fails(1002)],
    ['5.4', 'fragments of any size', more_text('x' x 70000) . more('y') . last_one('z' x 300), said(text => 'x' x 70000 . 'y' . 'z' x 300)],
    ['5.4', 'the type is that of the first fragment', more_binary("\xff") . last_one("\xfe"), said(binary => "\xff\xfe")],

    # 5.5
    (map { ['5.5', "an unfinished $_ closes", frame($_ => '', fin => 0), fails(1002)] } qw(close ping pong)),
    ['5.5', 'an unfinished ping inside a message closes', more_text('a') . ping('b', fin => 0), fails(1002)],
    (map { ['5.5', "a $_ of 126 bytes closes", frame($_ => "\x03\xe8" . 'x' x 124), fails(1002)] } qw(close ping pong)),
    ['5.5', 'a ping of 65536 bytes closes', ping('x' x 65536), fails(1002)],
    ['5.5', 'a control frame too long closes by its header', ping('', announce => 126), fails(1002)],

    # 5.5.1, 7.1
    ['5.5.1', 'a close is answered with its code', close_frame(1000), qr/^close 1000\b/],
    ['5.5.1', 'a close with a reason', close_frame(1000, 'going'), qr/^close 1000\b/],
    ['5.5.1', 'a close with the longest reason', close_frame(1000, 'r' x 123), qr/^close 1000\b/],
    ['5.5.1', 'a close with a reason in UTF-8', close_frame(1000, "\xe2\x82\xac"), qr/^close 1000\b/],
    ['5.5.1', 'a close without a code', close_frame(), qr/^close(?: 1000)?$/],
    ['5.5.1', 'half a code closes', frame(close => "\x03"), fails(1002)],
    ['5.5.1', 'a reason that is not UTF-8 closes', close_frame(1000, "\xff"), fails(1007)],
    ['5.5.1', 'a reason that breaks off closes', close_frame(1000, "a\xe2\x82"), fails(1007)],
    ['5.5.1', 'what came before a close is answered', text('a') . ping('b') . close_frame(1001), 'text a', 'pong b', qr/^close 1001\b/],
    ['5.5.1', 'after a close no message is taken', close_frame(1000) . text('a'), qr/^close 1000\b/],
    ['5.5.1', 'after a close no ping is answered', close_frame(1000) . ping('a'), qr/^close 1000\b/],
    ['5.5.1', 'after a close no second is answered', close_frame(1000) . close_frame(1001), qr/^close 1000\b/],
    ['5.5.1', 'after a close no rule is broken', close_frame(1000) . frame(3 => '', mask => ''), qr/^close 1000\b/],

    # 5.5.2, 5.5.3
    ['5.5.2', 'a ping is answered', ping('Hello'), 'pong Hello'],
    ['5.5.2', 'a ping without payload', ping(''), 'pong'],
    ['5.5.2', 'a ping of 125 bytes', ping('p' x 125), said(pong => 'p' x 125)],
    ['5.5.3', 'a pong has the very same bytes', ping("\0\xff\xfe\x80"), said(pong => "\0\xff\xfe\x80")],
    ['5.5.3', 'a pong that nobody asked for is no matter', pong('x'), ()],
    ['5.5.3', 'a pong without payload, and of 125 bytes', pong('') . pong('p' x 125) . text('a'), 'text a'],

    # 5.6
    ['5.6', 'text comes back as text', text('Hello'), 'text Hello'],
    ['5.6', 'text in UTF-8', text("\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5 \xf0\x9f\x90\x9d"),
        said(text => "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5 \xf0\x9f\x90\x9d")],
    ['5.6', 'text with NUL', text("a\0b"), said(text => "a\0b")],
    ['5.6', 'binary comes back as binary', binary("\0\xff\x80"), said(binary => "\0\xff\x80")],
    ['5.6', 'all bytes', binary(join '', map { chr } 0 .. 255), said(binary => join '', map { chr } 0 .. 255)],
    ['5.6', 'many messages', text('a') . binary('b') . text('c') . text(''), 'text a', 'binary b', 'text c', 'text'],
    ['5.6', 'a character cut by fragments', more_text("\xf0\x9f") . more("\x90") . last_one("\x9d"), said(text => "\xf0\x9f\x90\x9d")],
    ['5.6', 'and by a ping between them', more_text("\xc3") . ping('x') . last_one("\xa9"), 'pong x', said(text => "\xc3\xa9")],

    # 5.7
    ['5.7', 'the masked text message', "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 'text Hello'],
    ['5.7', 'the unmasked text message', "\x81\x05Hello", fails(1002)],
    ['5.7', 'the masked ping response', "\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", ()],
    ['5.7', '256 bytes binary', binary("\x2a" x 256), said(binary => "\x2a" x 256)],
    ['5.7', '64 KiB binary', binary("\x2a" x 65536), said(binary => "\x2a" x 65536)],

    # 7.1
    ['7.1.7', 'after failing nothing more is taken', frame(3 => '') . text('a') . ping('b'), fails(1002)],
    ['7.1.7', 'after failing no close is answered', frame(3 => '') . close_frame(1000), fails(1002)],

    # 7.4
    (map { ['7.4.1', "code $_ is answered", close_frame($_), qr/^close $_\b/] } 1000 .. 1003, 1007 .. 1014),
    (map { ['7.4.2', "code $_ is answered", close_frame($_), qr/^close $_\b/] } 3000, 3999, 4000, 4999),
    (map { ['7.4.1', "code $_, which must not be sent, closes", close_frame($_, 'why'), fails(1002)] } 1004, 1005, 1006, 1015),
    (map { ['7.4.2', "code $_, which is not used, closes", close_frame($_), fails(1002)] } 0, 1, 999, 5000, 65535),
    (map { ['7.4.2', "code $_, which is reserved, closes", close_frame($_), fails(1002)] } 1016, 1100, 2000, 2999),

    # 8.1
    (map { ['8.1', 'well-formed: ' . unpack('H*', $_), text($_), said(text => $_)] }
        "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xef\xbf\xbe",
        "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "\xef\xbb\xbfa"),
    (map { ['8.1', 'closes: ' . unpack('H*', $_), text("plain text $_ and more"), fails(1007)] }
        "\x80", "\xbf", "\xc0\x80", "\xc0\xaf", "\xc1\xbf", "\xc2", "\xc2\xc2", "\xdf", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xe2\x82",
        "\xed\xa0\x80", "\xed\xaf\xbf", "\xed\xbf\xbf", "\xed\xa0\xbd\xed\xb8\x80", "\xf0\x80\x80\xaf", "\xf0\x8f\xbf\xbf", "\xf0\x9f\x90",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xfe", "\xff"),
    (map { ['8.1', 'closes when the message ends with it: ' . unpack('H*', $_), text("a$_"), fails(1007)] }
        "\xc2", "\xe2\x82", "\xf0\x9f\x90"),
    ['8.1', 'a bad byte in a later fragment closes', more_text('Hel') . more("l\xff") . last_one('o'), fails(1007)],
    ['8.1', 'a character cut by the end of fragments closes', more_text("\xe2") . last_one("\x82"), fails(1007)],
    ['8.1', 'and by an empty last fragment', more_text("\xe2\x82") . last_one(''), fails(1007)],
    ['8.1', 'a bad byte closes before the message ends', more_text("Hel\xff"), fails(1007)],
    ['8.1', 'a bad byte closes before its frame ends', text("Hel\xff", announce => 1000), fails(1007)],
    ['8.1', 'a surrogate closes at its second byte', text("\xed\xa0", announce => 1000), fails(1007)],
    ['8.1', 'binary may be anything', binary("\xff\xfe\xc0\x80"), said(binary => "\xff\xfe\xc0\x80")],
    ['8.1', 'binary in fragments may be', more_binary("\xff") . last_one("\xc0"), said(binary => "\xff\xc0")],

    # 10.4
    ['10.4', 'a message longer than may be closes by its header', text('', announce => 1024 * 1024 + 1), fails(1009)],
    ['10.4', 'the longest length closes', frame(text => '', form => 64, announce => (1 << 63) - 1), fails(1009)],
    ['10.4', 'a fragment that would make it too long closes by its header',
        more_binary('x' x 100) . frame(continuation => '', announce => 1024 * 1024 - 99), fails(1009)],
    ['10.4', 'as many fragments as may be', more_text('a') . more('b') x 1022 . last_one('c'), said(text => 'a' . 'b' x 1022 . 'c')],
    ['10.4', 'one more closes', more_text('a') . more('b') x 1023 . last_one('c'), fails(1009)],
    ['10.4', 'one more without payload closes', more_text('') . more('') x 1023 . last_one(''), fails(1009)],
);

# Sends a rule's bytes and compares what comes back. A rule that closes ends
# with the end of the connection; in any other case it goes on.
sub check {
    my ($rule, $bytewise) = @_;
    my ($section, $name, $bytes, @expected) = @$rule;
    my $ws = Hive::WebSocket->connect(port => $hive->port, path => '/echo');
    if ($bytewise) { $ws->write_bytewise($bytes) }
    else { $ws->write($bytes) }
    my $closes = @expected && "$expected[-1]" =~ /\bclose\b/;
    push @expected, 'eof' if $closes;
    my @got;
    while (@got < @expected) {
        push @got, describe($ws->next_frame(5));
        last if $got[-1] =~ /^(?:eof|reset|nothing)$/;
    }
    if (!$closes) {
        $ws->write(ping('alive'));
        push @got, describe($ws->next_frame(5));
        push @expected, 'pong alive';
    }
    $ws->drop;
    my $same = @got == @expected;
    for my $i (0 .. $#expected) {
        $same &&= ref $expected[$i] ? $got[$i] =~ $expected[$i] : $got[$i] eq $expected[$i];
    }
    ok $same, "$section $name" . ($bytewise ? ', byte by byte' : '')
        or diag join "\n", 'got:', (map { "    $_" } @got), 'expected:', map { "    $_" } @expected;
    return;
}

for my $rule (@rules) {
    check($rule);
    check($rule, 1) if length $rule->[2] < 400;
}

# ---- what no table holds ----

{
    my $ws = upgrade();
    my @texts = map { "message $_" } 1 .. 100;
    $ws->write(join '', map { text($_) } @texts);
    is_deeply [map { describe($ws->next_frame(5)) } @texts], [map { "text $_" } @texts], '5.4 a hundred frames in one write, in order';
    $ws->write(join '', map { $_ % 2 ? ping($_) : binary($_) } 1 .. 100);
    is_deeply [map { describe($ws->next_frame(5)) } 1 .. 100], [map { $_ % 2 ? "pong $_" : "binary $_" } 1 .. 100],
        '5.5.2 and pings between them';

    my $bytes = join '', map { text('x' x $_) } 1 .. 300;
    $ws->write($_) for unpack '(a997)*', $bytes;
    is_deeply [map { length $ws->next_frame(5)->{payload} } 1 .. 300], [1 .. 300], '5.4 frames cut anywhere by TCP';

    my $longest = join '', map { chr 33 + $_ % 90 } 1 .. 1024 * 1024;
    $ws->write(text($longest));
    is describe($ws->next_frame(10)), said(text => $longest), '10.4 the longest message';
    $ws->write(more_text(substr $longest, 0, 1000) . join('', map { more(substr $longest, 1000 * $_, 1000) } 1 .. 999)
        . last_one(substr $longest, 1_000_000));
    is describe($ws->next_frame(10)), said(text => $longest), '10.4 the longest message in a thousand fragments';
    $ws->write(text('x' x 300_000)) for 1 .. 20;
    is_deeply [map { describe($ws->next_frame(10)) } 1 .. 20], [(said(text => 'x' x 300_000)) x 20],
        '10.4 the limit is of one message, not of all';
    lives($ws, '10.4 and it goes on');
    my $began = time;
    $ws->close(1000, 'done');
    is join(' | ', map { describe($_) =~ s/ done$//r } $ws->frames(5)), 'close 1000 | eof', '7.1.1 the server closes the connection first';
    cmp_ok time - $began, '<', 2, '7.1.1 at once';
    $ws->drop;
}

# What the other side sends on after it was refused must not cost it the
# close frame that says why.
{
    my $ws = upgrade();
    $ws->write(frame(3 => ''));
    $ws->write(text('x' x 100_000)) for 1 .. 5;
    my @got = map { describe($_) } $ws->frames(5);
    like $got[0], qr/^close 1002\b/, '7.1.1 a close is read by who goes on sending';
    $ws->drop;

    $ws = upgrade();
    $ws->write(frame(3 => ''));
    like describe($ws->next_frame(5)), qr/^close 1002\b/, '7.1.7 a close frame says why';
    $ws->close(1002);
    is describe($ws->next_frame(5)), 'eof', '7.1.1 and the answer to it is no matter';
    $ws->drop;
}

# A client that goes without a close is no trouble.
{
    for my $bytes ('', "\x81", text('Hel', announce => 100), more_text('Hel'), text('x' x 100_000)) {
        my $ws = upgrade();
        $ws->write($bytes);
        $ws->drop;
    }
    my $ws = upgrade();
    $ws->write(text('Hello'));
    shutdown $ws->{socket}, 1;
    my @got = map { describe($_) } $ws->frames(5);
    is $got[-1], 'eof', '7.2.1 a connection that is closed without a frame is closed';
    $ws->drop;
    $ws = upgrade();
    lives($ws, '7.2.1 and others go on');
    $ws->drop;
}

$hive->stop;
done_testing;
