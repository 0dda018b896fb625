# Packages flame_kernel as an RTL kernel: vivado -mode batch -source rtl/vitis/package.tcl -tclargs OUTPUT.xo [NAME in rtl/configurations]
# Written after AMD's documentation of RTL kernels; it has not been run (no Vivado where FLAME is built).
set output [lindex $argv 0]
set configuration [expr {[llength $argv] > 1 ? [lindex $argv 1] : "lanes256"}]
set rtl [file normalize [file join [file dirname [info script]] ..]]
set project [file join [file dirname [file normalize $output]] flame_package]

# The list that the simulation is built from, too.
set list [open [file join $rtl configurations]]
set parameters {}
foreach line [split [read $list] "\n"] {
  if {[lindex [split $line] 0] ne $configuration} { continue }
  foreach parameter [lrange [split $line] 1 end] { lappend parameters {*}[split $parameter =] }
}
close $list
if {[llength $parameters] == 0} { error "rtl/configurations has no $configuration" }

create_project -force flame $project -part xcu200-fsgd2104-2-e
add_files [concat [glob $rtl/*.sv] [glob $rtl/*.v]]
set_property top flame_kernel [current_fileset]
update_compile_order -fileset sources_1

ipx::package_project -root_dir $project/ip -vendor flame.org -library kernel -taxonomy /KernelIP -import_files -set_current true
set core [ipx::current_core]
foreach {name value} $parameters {
  set_property value $value [ipx::get_user_parameters $name -of_objects $core]
  set_property value $value [ipx::get_hdl_parameters $name -of_objects $core]
}
set_property sdx_kernel true $core
set_property sdx_kernel_type rtl $core

# Every port belongs to an interface that runs on ap_clk.
foreach interface {s_axi_control m_axi_gmem0 m_axi_gmem1 m_axi_gmem2 m_axi_gmem3 m_axi_gmem_host} {
  ipx::associate_bus_interfaces -busif $interface -clock ap_clk $core
}

# The register map that kernel.xml is made from.
set map [ipx::add_memory_map s_axi_control $core]
set_property slave_memory_map_ref s_axi_control [ipx::get_bus_interfaces s_axi_control -of_objects $core]
set block [ipx::add_address_block reg0 $map]
set_property range 4096 $block
proc add_register {block name offset size} {
  set register [ipx::add_register $name $block]
  set_property address_offset $offset $register
  set_property size $size $register
  return $register
}
add_register $block CTRL 0x000 32
add_register $block GIER 0x004 32
add_register $block IP_IER 0x008 32
add_register $block IP_ISR 0x00C 32
foreach {name offset interface} {
  commands 0x010 m_axi_gmem_host weights0 0x01C m_axi_gmem0 weights1 0x028 m_axi_gmem1
  weights2 0x034 m_axi_gmem2 weights3 0x040 m_axi_gmem3
} {
  set register [add_register $block $name $offset 64]
  set parameter [ipx::add_register_parameter ASSOCIATED_BUSIF $register]
  set_property value $interface $parameter
}
foreach {name offset} {
  command_count 0x04C shape 0x054 steps 0x05C header_words 0x064 bank_words 0x06C stride 0x074 slots 0x07C
  predictor 0x084 flags 0x08C
} {
  add_register $block $name $offset 32
}

set_property core_revision 1 $core
ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity -kernel $core
ipx::save_core $core
package_xo -force -xo_path $output -kernel_name flame_kernel -ip_directory $project/ip -ctrl_protocol ap_ctrl_hs
