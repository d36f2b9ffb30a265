package Peers;

# Peers.pm: the HTTP peers of ../shared/peers/http (Fastify, FastAPI with
# asyncpg), copied to a writable folder once and started one at a time.

use strict;
use warnings;
use Bench;

my $source = "$Bench::dir/../../../shared/peers/http";
our $kit = $ENV{HIVE_BENCH_KIT} // '/tmp/hive-bench/kit';
our %port = (fastify => 18003, fastapi => 18001);

my @packages = qw(python3-fastapi python3-uvicorn python3-uvloop python3-httptools python3-asyncpg
    python3-jwt python3-sqlalchemy python3-argon2 python3-websockets python3-ujson cython3 python3-dev
    python3-setuptools curl iproute2);

sub available { -d $source }

# Installs what the peers need and starts their Postgres; slow the first time.
sub prepare {
    unless (-d "$kit/bench") {
        Bench::progress("copying the peers to $kit");
        system('mkdir', '-p', $kit) == 0 or die;
        system("cp -R '$source/.' '$kit/' && chmod -R u+w '$kit'") == 0 or die "cannot copy $source";
    }
    my @missing = grep { system("dpkg-query -W -f='\${Status}' $_ 2>/dev/null | grep -q 'ok installed'") } @packages;
    if (@missing) {
        Bench::progress("installing @missing");
        system("DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends @missing >/dev/null 2>&1") == 0
            or die "cannot install @missing";
    }
    unless (-d "$kit/fastify/node_modules") {
        Bench::progress('npm ci for Fastify');
        system("cd '$kit/fastify' && npm ci >/dev/null 2>&1") == 0 or die 'npm ci failed';
    }
    # PyPI's pydantic is compiled, Debian's is not: compile it as the kit says.
    unless (glob "$kit/pylib/pydantic/*.so") {
        Bench::progress('compiling pydantic, some minutes, once');
        system("mkdir -p '$kit/pylib' && cp -R /usr/lib/python3/dist-packages/pydantic '$kit/pylib-build/'"
            . " && cd '$kit/pylib-build' && /usr/bin/python3 setup.py build_ext --inplace >/dev/null 2>&1"
            . " && rm -rf ../pylib/pydantic && cp -R pydantic ../pylib/") == 0 or die 'pydantic did not compile';
    }
    system("cd '$kit' && ./pg.sh start >/dev/null 2>&1") == 0 or die "the peers' Postgres did not start";
}

sub start {
    my ($name) = @_;
    system("cd '$kit' && ./peer.sh start $name >/dev/null 2>&1") == 0 or die "$name did not start; see $kit/logs/$name.log";
    open my $fh, '<', "$kit/run/$name.pid" or die;
    chomp(my $pid = <$fh>);
    open my $pg, '<', '/tmp/hive-peers/pgdata/postmaster.pid' or die;
    chomp(my $postmaster = <$pg>);
    return { base => "http://127.0.0.1:$port{$name}", pids => { server => [$pid], postgres => [$postmaster] } };
}

sub stop { system("cd '$kit' && ./peer.sh stop $_[0] >/dev/null 2>&1") }
sub clean { system("cd '$kit' && ./pg.sh clean >/dev/null 2>&1") }
sub shut { system("cd '$kit' && ./pg.sh stop >/dev/null 2>&1") }

sub lines {
    open my $fh, '<', "$kit/seed/$_[0]" or die "$_[0]: $!";
    chomp(my @lines = <$fh>);
    return @lines;
}

# Ready-made requests for an endpoint of the kit's README.
sub requests {
    my ($endpoint, $n) = @_;
    my @tokens = lines('tokens.txt');
    my @projects = lines('project_ids.txt');
    my @busy = lines('busy_project_ids.txt');
    my $text = substr('the agent reads the spec; writes the code; runs every test; reports back; ' x 4, 0, 200);
    return map {
        my $auth = { Authorization => 'Bearer ' . $tokens[rand @tokens] };
        $endpoint eq 'project' ? Bench::http_request('GET', '/api/v1/projects/' . $projects[rand @projects], $auth)
        : $endpoint eq 'tasks' ? Bench::http_request('GET', '/api/v1/tasks?project_id=' . $busy[rand @busy] . '&limit=20', $auth)
        : $endpoint eq 'create' ? Bench::http_request('POST', '/api/v1/tasks', $auth,
            sprintf '{"project_id":"%s","title":"Bench task %d","description":"%s","status":"todo","priority":%d}',
            $projects[rand @projects], $_, $text, 1 + $_ % 5)
        : die "no endpoint $endpoint"
    } 1 .. $n;
}

1;
