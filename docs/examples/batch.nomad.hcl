# A batch job: three instances that end by themselves.
#
#   nomadlite job run docs/examples/batch.nomad.hcl
job "sum" {
  type = "batch"

  group "workers" {
    count = 3

    task "add" {
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args = ["-c", <<-EOT
          sum=0
          for n in 1 2 3 4 5 6 7 8 9 10; do
            sum=$((sum + n))
          done
          echo "worker $NOMAD_ALLOC_INDEX: the sum is $sum"
        EOT
        ]
      }

      resources {
        cpu    = 20
        memory = 16
      }
    }
  }
}
