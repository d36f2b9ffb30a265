# fuzz.t: each fuzz target for some seconds, from the corpus of what was
# found before (t/fuzz/corpus/<target>). HIVE_FUZZ_SECONDS (5).

use strict;
use warnings;
use FindBin qw($Bin);
use File::Temp ();
use Test::More;

my $seconds = $ENV{HIVE_FUZZ_SECONDS} // 5;
my @sources = sort glob "$Bin/fuzz/*_fuzz.c";
ok scalar @sources, 'there are fuzz targets';

for my $source (@sources) {
    my ($name) = $source =~ m{([^/]+)\.c$};
    (my $short = $name) =~ s/_fuzz$//;
    my $program = "$Bin/../build/fuzz/$name";
    if (!-x $program) {
        fail "$program is not built: make fuzz";
        next;
    }
    my $dir = File::Temp->newdir;
    my @seeds = grep { -d } "$Bin/fuzz/corpus/$name", "$Bin/fuzz/corpus/$short";
    my $said = `cd '$dir' && timeout @{[$seconds + 60]} '$program' -max_total_time=$seconds -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=1 '$dir' @seeds 2>&1`;
    my $status = $?;
    my ($runs) = $said =~ /stat::number_of_executed_units:\s*(\d+)/;
    ok !$status && ($runs // 0) > 1000, "$name: " . ($runs // 0) . ' inputs' or diag substr $said, -3000;
}

done_testing;
