# Makes PLRAM[0], the host port's memory, 2 MiB of block RAM (a platform's own is 128 KiB): room for the tokens, results, tables
# and commands of one run of the driver. v++ sources it before linking (u200.cfg). It has not been run (no Vivado where FLAME is
# built).
sdx_memory_subsystem::update_plram_specification [get_bd_cells /memory_subsystem] PLRAM_MEM00 {
  SIZE 2M
  AXI_DATA_WIDTH 512
  SLR_ASSIGNMENT SLR0
  READ_LATENCY 10
  MEMORY_PRIMITIVE BRAM
}
validate_bd_design -force
save_bd_design
