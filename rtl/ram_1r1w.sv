/// Memory with one write and one read port on one clock. A read takes one cycle; the output keeps its value while
/// `read_i` is low. Reading the word that is being written gives the old word (so the caller must not care).
module ram_1r1w #(
    parameter int unsigned Width = 64,
    parameter int unsigned Depth = 512,
    parameter RamStyle = "block",
    localparam int unsigned AddressBits = (Depth > 1) ? $clog2(Depth) : 1
) (
    input  logic                   clk_i,
    input  logic                   write_i,
    input  logic [AddressBits-1:0] write_address_i,
    input  logic [      Width-1:0] write_data_i,
    input  logic                   read_i,
    input  logic [AddressBits-1:0] read_address_i,
    output logic [      Width-1:0] read_data_o
);

  (* ram_style = RamStyle *) logic [Width-1:0] memory[Depth];

  always_ff @(posedge clk_i) begin
    if (write_i) memory[write_address_i] <= write_data_i;
  end

  always_ff @(posedge clk_i) begin
    if (read_i) read_data_o <= memory[read_address_i];
  end

`ifndef SYNTHESIS
  logic settled_q = 1'b0;  // the first edge finds registers that no reset has reached
  always_ff @(posedge clk_i) begin
    settled_q <= 1'b1;
    assert (!settled_q || !write_i || 32'(write_address_i) < Depth) else $error("ram_1r1w: a write beyond the memory");
    assert (!settled_q || !read_i || 32'(read_address_i) < Depth) else $error("ram_1r1w: a read beyond the memory");
  end
`endif

endmodule
